"""Files written piece by piece are safetensors' own, and cost a piece of memory."""

import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from extensions.resume import parts, streamed

# Peak of this process beyond what it holds, in MB, when 400 MB are written that have to be copied, as from a GPU.
PEAK = """
import resource, sys
from pathlib import Path
import torch
from extensions.resume import parts, streamed
streamed.PIECE = 4 << 20
class Elsewhere(torch.Tensor):
    "As on another device: .cpu() makes a copy."
    def cpu(self):
        return self.as_subclass(torch.Tensor).clone()
value = {str(i): torch.ones(50 << 20).as_subclass(Elsewhere) for i in range(2)}
part = parts.Part("w.safetensors", value, copied=False)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
part.write(Path(sys.argv[1]))
print("peak", (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def every_kind():
    """Of every dtype that a state may have, and the layouts that need care."""
    kinds = (
        torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.int32, torch.int16,
        torch.int8, torch.uint8, torch.bool, torch.float8_e4m3fn,
    )  # fmt: skip
    found = {f"of {kind}": torch.arange(7).to(kind) for kind in kinds}
    return found | {
        "number": torch.tensor(3.5),
        "empty": torch.empty(0, 4),
        "transposed": torch.arange(12.0).reshape(3, 4).T,
        "channels last": torch.rand(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "part of another": torch.arange(10.0)[3:7],
        "parameter": torch.nn.Parameter(torch.ones(3)),
    }


@pytest.mark.parametrize("piece", [3, 16, 1 << 28])
def test_the_library_reads_what_was_written(tmp_path, monkeypatch, piece):
    monkeypatch.setattr(streamed, "PIECE", piece)
    tensors = every_kind()
    streamed.write(tensors, tmp_path / "a.safetensors", {"tree": "täx"})
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape
        ours, its = (one.detach().reshape(-1).view(torch.uint8) for one in (tensor, found[name]))
        assert torch.equal(ours, its), name
    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        assert file.metadata() == {"tree": "täx"}


def test_where_memory_has_no_room_a_piece_is_copied_and_not_a_file(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(tmp_path)], capture_output=True, text=True, timeout=120, check=True
    )
    assert int(done.stdout.split()[-1]) < 100  # a piece of 4 MB, and what modules take
    assert parts.read(tmp_path / "w.safetensors")["1"].sum() == 50 << 20


@pytest.mark.disk_size("64k")
def test_a_full_disk_is_an_error_of_the_disk(small_disk):
    with pytest.raises(OSError, match="No space left on device"):
        streamed.write({"w": torch.zeros(100_000)}, small_disk / "w.safetensors", {})
