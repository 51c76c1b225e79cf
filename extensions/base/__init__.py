"""The ground: errors, paths, files, locks, processes. Knows nothing of training; imports no torch."""
