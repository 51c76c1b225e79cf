"""One plugin a file, one class `Plugin` each, and nothing else."""
