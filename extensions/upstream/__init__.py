"""Kohya's sd-scripts: the pinned submodule, the patched tree, and the trainers under our manager."""
