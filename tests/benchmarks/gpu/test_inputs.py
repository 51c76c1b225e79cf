"""The made inputs: every size with every number of chunks, the full file's keys and shapes."""

import json
import math

import numpy as np
import pytest
from transformers import CLIPTokenizer

from benchmarks.gpu import inputs
from extensions.model.full_size import shapes
from extensions.text.tokenizers import PAD_TOKENS, ensure_tokenizers


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizers")
    ensure_tokenizers(folder)
    return CLIPTokenizer.from_pretrained(folder / next(iter(PAD_TOKENS)))


def test_each_size_has_texts_of_one_to_three_chunks(tmp_path, tokenizer):
    sizes = ((128, 64), (64, 128))
    inputs.make_data(tmp_path, sizes)
    met = set()
    for key, entry in json.loads((tmp_path / "meta_lat.json").read_text()).items():
        width, height = entry["train_resolution"]
        with np.load(tmp_path / "latents" / f"{key}.npz") as found:
            assert found["latents"].shape == (4, height // 8, width // 8)
        ids = tokenizer(f"{entry['caption']}, {entry['tags']}")["input_ids"]
        met.add((width, height, math.ceil((len(ids) - 2) / 75)))
    assert met == {(*size, chunks) for size in sizes for chunks in (1, 2, 3)}


def test_the_full_file_has_the_published_models_parameters():
    found = inputs.shapes(tiny=False)
    unet = {name: shape for name, shape in found.items() if name.startswith("model.diffusion_model.")}
    assert (
        sum(map(math.prod, unet.values())) == sum(map(math.prod, shapes("sdxl")["U-Net"].values())) == 2_567_463_684
    )
