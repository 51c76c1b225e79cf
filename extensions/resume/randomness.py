"""The random streams of one process: Python's, numpy's, PyTorch's on the CPU and on this process's GPU."""

import random

import numpy as np
import torch


def streams() -> dict:
    """Where all of them stand, as a tree of numbers and tensors."""
    version, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()
    found = {
        "python": [version, list(words), gauss],
        "numpy": [name, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        found["cuda"] = torch.cuda.get_rng_state()
    return found


def restore(found: dict) -> None:
    """Put all of them where `streams` found them. A state from a GPU run restores what a CPU run has."""
    version, words, gauss = found["python"]
    random.setstate((version, tuple(words), gauss))
    name, keys, position, has_gauss, cached = found["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, cached))
    torch.set_rng_state(found["torch"])
    if "cuda" in found and torch.cuda.is_available():
        torch.cuda.set_rng_state(found["cuda"])
