"""Files that are written a piece at a time are those that safetensors reads."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from extensions.averages import files
from extensions.averages.pieces import Place
from extensions.base.errors import UserError

KINDS = some.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.float64])


@given(some.dictionaries(some.text(min_size=1, max_size=9), some.tuples(KINDS, some.integers(0, 70)), max_size=9))
def test_flat_tensors_are_read_by_the_formats_own_library(tmp_path_factory, layout):
    path = tmp_path_factory.mktemp("flat") / "x.safetensors"
    wanted = {name: torch.randn(count).to(dtype) for name, (dtype, count) in layout.items() if name != "__metadata__"}
    files.write_flat(path, {name: (each.dtype, each.numel()) for name, each in wanted.items()}, wanted.items())
    found = load_file(path)
    assert found.keys() == wanted.keys()
    assert all(found[name].dtype == each.dtype and torch.equal(found[name], each) for name, each in wanted.items())
    with open(path, "rb", buffering=0) as file:
        header, start = files.Header.read(file)
        own = files.Tensors(file, header, start)
        assert all(torch.equal(own.get(name), each) for name, each in wanted.items())


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "model.safetensors"
    tensors = {
        "a": torch.randn(4, 5).half(),
        "b": torch.randn(3, 3).bfloat16(),
        "c": torch.arange(4),
        "d": torch.zeros(0),
    }
    save_file(tensors, path, {"title": "it", "kept": "so"})
    return path, tensors


def test_a_changed_checkpoint_has_the_others_names_shapes_and_dtypes(checkpoint, tmp_path):
    path, tensors = checkpoint
    values = torch.randn(20, dtype=torch.float64)
    pieces = [(Place("a", 7, 13), values[7:]), (Place("a", 0, 7), values[:7]), (Place("b", 3, 2), torch.ones(2))]
    files.write_changed(tmp_path / "new.safetensors", path, {"title": "new"}, pieces)
    found = load_file(tmp_path / "new.safetensors")
    assert {name: (each.shape, each.dtype) for name, each in found.items()} == {
        name: (each.shape, each.dtype) for name, each in tensors.items()
    }
    assert torch.equal(found["a"].flatten(), values.half())
    assert torch.equal(found["b"].flatten()[3:5], torch.ones(2).bfloat16())
    assert torch.equal(found["b"].flatten()[5:], tensors["b"].flatten()[5:]) and torch.equal(found["c"], tensors["c"])
    with safe_open(tmp_path / "new.safetensors", "pt") as file:
        assert file.metadata() == {"title": "new", "kept": "so"}
    assert torch.equal(load_file(path)["a"], tensors["a"])


@pytest.mark.parametrize("place", [Place("e", 0, 1), Place("a", 19, 2), Place("c", 0, 1)])
def test_what_has_no_place_in_the_checkpoint_is_refused(checkpoint, tmp_path, place):
    with pytest.raises(UserError, match="give a checkpoint of the same run"):
        files.write_changed(tmp_path / "new.safetensors", checkpoint[0], {}, [(place, torch.zeros(place.count))])


def test_a_tensor_that_is_cut_short_is_not_read(checkpoint):
    path, _ = checkpoint
    with open(path, "r+b") as file:
        file.truncate(path.stat().st_size - 20)
    with open(path, "rb") as file, pytest.raises(ValueError, match="cut short"):
        header, start = files.Header.read(file)
        own = files.Tensors(file, header, start)
        [own.get(name) for name in header.entries if header.entries[name]["dtype"] != "I64"]
