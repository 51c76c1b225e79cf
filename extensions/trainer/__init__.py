"""What both trainers share: their parser, checks and start."""
