"""Reads an optimizer's state by weight, whole or a rank's share, out of the files of any number of ranks.

`optimizers/sharding.py` numbers the weights as the whole optimizer does, and each rank's file has the groups of all
and the state of its own: so a state goes on with another number of ranks, or undivided, and an undivided one divided.
A rank reads no tensor of another one's.
"""

import json
import re
from collections.abc import Callable

import torch

from extensions.base.errors import UserError
from extensions.optimizers import sharding
from extensions.resume import parts
from extensions.resume.description import State
from extensions.resume.trees import put_together

WHOLE = "optimizer.safetensors"
SHARE = "optimizer-share-{}.safetensors"


def file_of(run) -> str:
    """Return the name of this process's file."""
    shards = sharding.of(run.optimizer)
    return WHOLE if shards is None or shards.ranks == 1 else SHARE.format(shards.me)


def files_of(state: State) -> list[str]:
    """Return the names of a state's files of its optimizer. UserError where ZeRO has divided it elsewhere."""
    names = [name for name in state.facts.files if re.fullmatch(SHARE.format(r"\d+"), name)]
    if names:
        return sorted(names)
    if WHOLE not in state.facts.files:
        raise UserError(f"{state.path}: its optimizer is divided by ZeRO; resume with --deepspeed, or another state")
    return [WHOLE]


def read(run, state: State) -> dict:
    """Return the optimizer's state that this process wants, as `load_state_dict` takes it, on its device."""
    shards = sharding.of(run.optimizer)
    found: dict = {}
    for name in files_of(state):
        share = _read_share(state, name, run.accelerator.device, shards.is_mine if shards else lambda _number: True)
        found.setdefault("param_groups", share["param_groups"])
        found.setdefault("state", {}).update(share["state"])
    return found


def _read_share(state: State, name: str, device: torch.device, wanted: Callable[[int], bool]) -> dict:
    with parts.opened(state.file(name), device) as file:
        tree = json.loads(file.metadata()["tree"])
        for key, entry in tree["dict"]:
            if key == "state":
                entry["dict"] = [[number, entries] for number, entries in entry["dict"] if wanted(number)]
        return put_together(tree, Read(file))


class Read(dict):
    """The tensors of an open file, each read when it is asked for."""

    def __init__(self, file):
        super().__init__()
        self.file = file

    def __missing__(self, name: str) -> torch.Tensor:
        return self.file.get_tensor(name)
