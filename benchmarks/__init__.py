"""Ratios, measured side by side in one run; each module has --help."""
