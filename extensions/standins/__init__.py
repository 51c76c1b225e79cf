"""Stand-ins for PROFILE=tiny: a tokenizer, shrunken checkpoints and a small dataset, made without downloads."""
