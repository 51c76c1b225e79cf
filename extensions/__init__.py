"""The plugin layer: what a run lists in --extensions, and the trainers that call it."""
