"""Writes any nested value of a state as one safetensors file, and reads it back.

Values are copied to memory first (`Part`), so that they can be written while the training goes on; where memory has
no room, they are written as they are while it waits.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from extensions.base.errors import UserError
from extensions.resume import streamed
from extensions.resume.states import checksum
from extensions.resume.trees import put_together, taken_apart

CPU = torch.device("cpu")


class Part:
    """One value, to be written to the file `name`.

    copied: a copy in memory, which the training may go on from; else the value itself, which must not change until it
    is written.
    """

    def __init__(self, name: str, value, copied: bool = True):
        self.name = name
        self.tensors: dict[str, torch.Tensor] = {}
        self.tree = json.dumps(taken_apart(value, self.tensors))
        if copied:  # even of what is on the CPU already: the next step overwrites it
            self.tensors = {key: tensor.detach().to("cpu", copy=True) for key, tensor in self.tensors.items()}

    def write(self, folder: Path) -> dict:
        """Write and sync the file; its entry for the state's description."""
        path = folder / self.name
        streamed.write(self.tensors, path, {"tree": self.tree})
        return {"bytes": path.stat().st_size, "xxh3_128": checksum(path)}


def size_of(value) -> int:
    """Return bytes of the tensors in a nested value."""
    tensors: dict[str, torch.Tensor] = {}
    taken_apart(value, tensors)
    return sum(tensor.nbytes for tensor in tensors.values())


@contextmanager
def opened(path: Path, device: torch.device = CPU):
    """Open a part whose tensors are read one by one, straight to a device. UserError for a file that is none."""
    # One of several processes on the processor has the device cpu:0, which safetensors does not know.
    where = "cpu" if device.type == "cpu" else str(device)
    try:
        with safe_open(path, "pt", where) as file:
            yield file
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} cannot be read ({error}); take an older state") from None


def read(path: Path, device: torch.device = CPU):
    """Return the value of a part."""
    with opened(path, device) as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        return put_together(json.loads(file.metadata()["tree"]), tensors)


def read_tensors(path: Path, wanted: Callable[[str], bool] = bool) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield (key, tensor) of a part that is one dict of tensors, one in memory at a time. wanted: of a key."""
    with opened(path) as file:
        for key, entry in json.loads(file.metadata()["tree"])["dict"]:
            if wanted(key):
                yield key, file.get_tensor(entry["tensor"])
