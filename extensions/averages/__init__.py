"""Averages of weights over a run, what can be made of them after it, and blends of checkpoints."""
