"""Offline work on data sets: images to latents, checks. The training never imports it."""
