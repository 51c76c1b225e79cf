"""Averages of weights over a run, and what can be made of them after it."""
