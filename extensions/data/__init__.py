"""The data side: metadata index, latents, buckets, the order of the data, the data set."""

DATASET = "extensions.data.dataset.LatentsDataset"  # --dataset_class of every launcher
