"""The data side: metadata index, buckets, latents, sampler."""
