"""Exact resume: what a training state is, and how it is written, checked and restored."""
