"""Small sets of npz latents with their metadata, for the tests of whatever reads them."""

import json
from pathlib import Path

import numpy as np

SIZES = [(256, 192), (128, 128), (192, 256)]


def latents_of(number: int, size: tuple[int, int], dtype=np.float32) -> np.ndarray:
    """Random latents of an image's own, (4, h/8, w/8)."""
    width, height = size
    return np.random.default_rng(number).normal(0, 5, (4, height // 8, width // 8)).astype(dtype)


def write(folder: Path, key: str, latents: np.ndarray, original=(300, 200), crop=(3, 5, 259, 197), save=np.savez):
    """One npz of the historical layout."""
    save(folder / f"{key}.npz", latents=latents, original_size=np.array(original), crop_ltrb=np.array(crop))


def make(folder: Path, count: int = 12, dtype=np.float32) -> tuple[Path, Path]:
    """`count` images of three sizes by turns; (metadata file, folder of npz)."""
    data = folder / "latents"
    data.mkdir(parents=True)
    entries = {}
    for number in range(count):
        size, key = SIZES[number % len(SIZES)], f"id{number}"
        write(data, key, latents_of(number, size, dtype), (300 + number, 200), (number, 5, 259, 197))
        entries[key] = {"tags": f"tag{number}", "caption": "A.", "train_resolution": list(size)}
    meta = folder / "meta_lat.json"
    meta.write_text(json.dumps(entries))
    return meta, data
