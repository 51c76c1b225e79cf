"""Checks a GPU in minutes: what of this project holds on it, and what it gives (docs/gpu-check.md)."""
