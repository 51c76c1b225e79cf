"""Captures and restores a rank's RNG states: Python's, numpy's, PyTorch's on the CPU and on this rank's GPU."""

import random

import numpy as np
import torch


def streams() -> dict:
    """Return where all of them stand, as a tree of numbers and tensors."""
    version, words, gauss = random.getstate()
    state = np.random.get_state(legacy=False)
    words_of_numpy = torch.from_numpy(state["state"]["key"].astype(np.int64))
    found = {
        "python": [version, list(words), gauss],
        "numpy": [state["bit_generator"], words_of_numpy, state["state"]["pos"], state["has_gauss"], state["gauss"]],
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
