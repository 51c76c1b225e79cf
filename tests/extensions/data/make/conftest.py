"""A folder of photographs, and an encoder that costs nothing."""

import numpy as np
import pytest
from PIL import Image

from extensions.data.make import encode
from tests.helpers.encoding_cases import SIZES


@pytest.fixture
def photographs(tmp_path):
    """Four images of different shapes, one in a folder below, two with texts."""
    folder = tmp_path / "images"
    (folder / "below").mkdir(parents=True)
    draw = np.random.default_rng(1)
    for number, (width, height) in enumerate(SIZES):
        place = folder / "below" if number == 3 else folder
        pixels = draw.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(place / f"p.{number}.{'png' if number % 2 else 'jpg'}")
    (folder / "p.0.txt").write_text("1cat, sitting\n")
    (folder / "p.0.caption").write_text("A cat.")
    (folder / "p.1.txt").write_text("日本")
    (folder / "notes.md").write_text("no image")
    return folder


@pytest.fixture
def fast(monkeypatch):
    """An encoder that averages blocks, and counts; for what is not about the autoencoder."""
    calls = []

    def encoded(_model, _jobs, pixels):
        calls.append(pixels.shape)
        _, _, height, width = pixels.shape
        blocks = pixels.reshape(1, 3, height // 8, 8, width // 8, 8).mean((3, 5))
        return np.concatenate([blocks, blocks.mean(1, keepdims=True)], axis=1)

    monkeypatch.setattr(encode, "encode_one", encoded)
    return calls
