"""Headers of checkpoints: families told apart, broken files refused in one line."""

import json
import struct

import pytest
import torch
from safetensors.torch import save_file

from extensions.base.errors import UserError
from extensions.model import checkpoint

UNET = "model.diffusion_model.input_blocks.0.0.weight"
FAMILIES = {
    "sdxl": "conditioner.embedders.1.model.token_embedding.weight",
    "sd2": "cond_stage_model.model.token_embedding.weight",
    "sd1": "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight",
    "unknown": "something.else",
}


def written(tmp_path, family):
    path = tmp_path / f"{family}.safetensors"
    save_file({UNET: torch.zeros(4, 4), FAMILIES[family]: torch.zeros(8)}, path, {"format": "pt"})
    return path


@pytest.mark.parametrize("family", FAMILIES)
def test_family(tmp_path, family):
    header = checkpoint.read_header(written(tmp_path, family))
    assert header.family == family
    assert header.shape(UNET) == (4, 4)
    assert header.metadata == {"format": "pt"}


@pytest.mark.parametrize(("have", "want"), [("sd2", "sdxl"), ("sd1", "sdxl"), ("sdxl", "sd2"), ("unknown", "sdxl")])
def test_another_family_is_refused(tmp_path, have, want):
    with pytest.raises(UserError, match="this run needs"):
        checkpoint.require_family(checkpoint.read_header(written(tmp_path, have)), want)


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[:-1],
        lambda raw: raw[: len(raw) // 2],
        lambda raw: raw[:5],
        lambda raw: b"",
        lambda raw: b"PK\x03\x04" + b"x" * 200,
        lambda raw: struct.pack("<Q", 20) + b"{" * 20 + raw,
        lambda raw: struct.pack("<Q", 2) + b"[]",
        lambda raw: struct.pack("<Q", 1 << 60) + raw,
        lambda raw: raw + b"more",
    ],
)
def test_broken_files_are_one_line(tmp_path, damage):
    path = written(tmp_path, "sdxl")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError) as error:
        checkpoint.read_header(path)
    assert "\n" not in str(error.value) and path.name in str(error.value)


def test_missing_tensor_and_file(tmp_path):
    with pytest.raises(UserError, match="no such checkpoint"):
        checkpoint.read_header(tmp_path / "none.safetensors")
    with pytest.raises(UserError, match="out.2.weight is missing"):
        checkpoint.read_header(written(tmp_path, "sdxl")).shape("out.2.weight")


def test_layers(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({f"t.{i}.w": torch.zeros(2, 3) for i in (0, 1, 10)}, path)
    header = checkpoint.read_header(path)
    assert (header.layers("t."), header.metadata) == (3, {})
    assert json.dumps(header.shapes)
