"""Stand-ins for PROFILE=tiny: tokenizers, small checkpoints and datasets, no downloads."""
