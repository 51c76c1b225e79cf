"""What a checkpoint and its models are: names, shapes, sizes."""
