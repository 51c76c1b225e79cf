"""Hashes by splitmix64 (Steele et al. 2014), which no version of a library changes."""

import numpy as np


def hashed(*words: int) -> np.uint64:
    """One hash of some integers, in their order."""
    state = np.uint64(0)
    for word in words:
        state = mixed(np.array([state ^ np.uint64(word % 2**64)], np.uint64))[0]
    return state


def mixed(words: np.ndarray) -> np.ndarray:
    """splitmix64's next output for each state in `words`, uint64; wraps around."""
    with np.errstate(over="ignore"):
        words = words + np.uint64(0x9E3779B97F4A7C15)
        words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
