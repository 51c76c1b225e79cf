"""Loads the data set by its dotted name, and shuffles it alike on every rank."""

import importlib
import os
from collections.abc import Iterator

import torch
from accelerate.utils import broadcast_object_list
from torch.utils.data import DataLoader, Sampler

from extensions.base.errors import UserError
from extensions.data.loader import only


def dataset(args):
    """Return an instance of --dataset_class, constructed as upstream does. UserError where there is none."""
    module, _, name = args.dataset_class.rpartition(".")
    try:
        cls = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"--dataset_class={args.dataset_class}: {error}; give module.Class") from None
    made = cls(None, None, None, False)  # tokenizer, token length, resolution, debug: its flags say the rest
    if len(made) == 0:
        raise UserError(f"--in_json={args.in_json}: no images to train on")
    return made


def loader(args, made, accelerator) -> DataLoader:
    """One item of the data set a batch: it makes the batches itself."""
    workers = min(args.max_data_loader_n_workers, os.cpu_count() or 1)
    return DataLoader(
        made,
        batch_size=1,
        sampler=Shuffled(len(made), accelerator),
        collate_fn=only,
        num_workers=workers,
        persistent_workers=args.persistent_data_loader_workers and workers > 0,
    )


class Shuffled(Sampler):
    """A new order each epoch, from torch's global random stream: the draws of PyTorch's own shuffle.

    PyTorch's sampler would be given a generator of its own by accelerate where there are several
    processes, and other orders than one process has. Here all take process 0's seed, so that n processes
    pass the batches of an epoch in the order of one process, n at a time.
    """

    def __init__(self, length: int, accelerator):
        self.length, self.accelerator = length, accelerator

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        seed = [int(torch.empty((), dtype=torch.int64).random_().item())]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(seed)
        generator = torch.Generator()
        generator.manual_seed(seed[0])
        # As a tensor until it is read: a list of millions of Python ints takes eight times the memory.
        yield from (int(index) for index in torch.randperm(self.length, generator=generator))
