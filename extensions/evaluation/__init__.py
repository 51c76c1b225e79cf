"""Looks at a model in training without changing it: which images, noise, timesteps and texts it is asked about."""
