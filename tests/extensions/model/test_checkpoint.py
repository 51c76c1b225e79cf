"""Headers of checkpoints: families told apart, broken files refused in one line."""

import json
import os
import pickle
import struct

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import safe_open
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


ONE = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}


@pytest.mark.parametrize(
    "header",
    [
        {"a": ONE, "b": ONE},  # they overlap
        {"a": ONE, "b": ONE | {"data_offsets": [20, 36]}},  # a hole
        {"a": ONE | {"data_offsets": [16, 0]}},
        {"a": ONE | {"dtype": "F33"}},
        {"a": ONE | {"dtype": "I64"}},
        {"a": ONE | {"shape": [5]}},
        {"a": ONE | {"shape": [-4]}},
        {"a": ONE | {"shape": "4"}},
        {"a": ONE | {"shape": [1 << 62, 1 << 62]}},
        {"a": ONE | {"shape": [1e400]}},
        {"a": {"b": ONE}},
        {"a": {"dtype": "F32", "shape": [4]}},
        {"a": ONE, "__metadata__": {"x": 1}},
        {"a": ONE, "__metadata__": ["x"]},
        b'{"a":' * 100_000,
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"\xff":1}',
        json.dumps({"a": ONE}).encode("utf-16"),
        b'{"a\\ud800":1}',
        b"null",
        b'{"a\n\x1b[31m',
    ],
)
def test_headers_that_no_library_writes_are_one_line(tmp_path, header):
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(raw)) + raw + b"\0" * 36)
    with pytest.raises(UserError) as error:
        checkpoint.read_header(path)
    assert str(error.value).isprintable() and path.name in str(error.value)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_to_a_header_is_one_line_or_none(tmp_path, data):
    raw = bytearray(struct.pack("<Q", 0) + json.dumps({"a.weight": ONE, "__metadata__": {"format": "pt"}}).encode())
    raw[:8] = struct.pack("<Q", len(raw) - 8)
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "a.safetensors").write_bytes(raw + b"\0" * 16)
    try:
        header = checkpoint.read_header(tmp_path / "a.safetensors")
    except UserError as error:
        assert str(error).isprintable()
    else:
        assert len(header.shapes) == 1 and set(header.dtypes) == set(header.shapes)


@pytest.mark.parametrize("name", ["a.safetensors", "a.ckpt", "a.bin", "a"])
def test_pickles_are_refused_by_their_content(tmp_path, name):
    path = tmp_path / name
    for zipped in (True, False):
        torch.save({"state_dict": {}}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(UserError, match="is a pickle or a zip archive"):
            checkpoint.read_header(path)
    path.write_bytes(pickle.dumps({}))
    with pytest.raises(UserError, match="is a pickle or a zip archive"):
        checkpoint.read_header(path)
    save_file({UNET: torch.zeros(4, 4)}, path)
    assert checkpoint.read_header(path).shape(UNET) == (4, 4)  # safetensors, whatever its name


def test_a_file_that_is_a_zip_archive_and_safetensors_at_once(tmp_path):
    """Two of them: an archive among the tensors' bytes, and a length of 67 MB that is a zip archive's first bytes."""
    import io
    import zipfile

    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02.")
    payload = archive.getvalue()
    path = tmp_path / "a.ckpt"
    save_file({UNET: torch.frombuffer(bytearray(payload), dtype=torch.uint8)}, path)
    assert zipfile.is_zipfile(path)
    with pytest.raises(UserError, match="zip archive"):
        checkpoint.read_header(path)
    length = struct.unpack("<Q", b"PK\x03\x04\0\0\0\0")[0]
    header = json.dumps({"a": ONE}).encode()
    path.write_bytes(struct.pack("<Q", length) + header + b" " * (length - len(header)) + b"\0" * 16)
    with safe_open(path, "pt") as file:
        assert list(file.keys()) == ["a"]
    with pytest.raises(UserError, match="zip archive"):
        checkpoint.read_header(path)


def test_what_is_no_plain_file(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    for path, says in ((tmp_path, "is a folder"), (tmp_path / "fifo", "no such checkpoint")):
        with pytest.raises(UserError, match=says):
            checkpoint.read_header(path)


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
