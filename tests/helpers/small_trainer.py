"""A trainer of a page, around the real loop calls and plugins: what both trainers do, on a model of 200 numbers."""

import argparse
import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from accelerate import Accelerator
from torch.nn import functional

from extensions import loop, manager
from extensions.data import DATASET
from extensions.data.order import batch_count
from extensions.model.models import Models
from extensions.trainer import arguments, hook_points

PLUGINS = "resume_at_step,save_states,on_nan"


class Keys(list):
    """What the plugins know of an index: each row's id, and the row of an id; the sizes of its three buckets."""

    buckets = ((512, 1024), (768, 1024), (1024, 1024))

    def __getitem__(self, row):
        return SimpleNamespace(key=super().__getitem__(row))

    def require_untouched(self):
        """Nothing is mapped."""

    def rows_of(self, keys):
        return {key: self.index(key) for key in keys if key in self}


class Images(torch.utils.data.Dataset):
    """`count` images in three buckets; an item is made of its rows and the epoch. replaced: {row: stand-ins}."""

    def __init__(self, count: int, batch_size: int, poison=(), replaced=None):
        self.bucket, self.batch_size, self.seed = np.arange(count) % 3, batch_size, 11
        self.fingerprint, self.grouped, self.poison = f"{count} images", None, poison
        self.metadata = Keys(f"image-{row}" for row in range(count))
        self.trained = None
        self.replaced, self.left_out = replaced or {}, frozenset()

    def __len__(self):
        return batch_count(self.bucket, self.batch_size)

    def __getitem__(self, place):
        rows = [self.read(row) for row in place.rows]
        values = torch.stack([torch.sin(torch.arange(8.0) * (row + 1) + place.epoch) for row in rows])
        if set(rows) & set(self.poison):
            values *= float("nan")
        return {"x": values, "captions": [""] * len(rows), "image_keys": [self.metadata[row].key for row in rows]}

    def order_is_known(self, left_out: frozenset[int]) -> None:
        self.left_out = left_out

    def read(self, row: int) -> int:
        """The row, or what takes its place: its first stand-in that may be seen."""
        return next((other for other in self.replaced.get(row, ()) if other not in self.left_out), row)


def flags(folder: Path, *words: str, extensions=PLUGINS, **changed) -> argparse.Namespace:
    """The flags of the plugins, from words or at their defaults, and some of a trainer's."""
    parser = arguments.extend(argparse.ArgumentParser(), manager.install(manager.listed(extensions)))
    args = vars(parser.parse_args(words))
    own = dict(
        extensions=extensions, dataset_class=DATASET, output_dir=str(folder),
        max_train_steps=8, gradient_accumulation_steps=2, train_batch_size=1, in_json="13", poison=(), replaced=None,
        max_data_loader_n_workers=0, persistent_data_loader_workers=False,
        output_name=None, save_every_n_epochs=None,
        optimizer=torch.optim.AdamW, schedule=torch.optim.lr_scheduler.LambdaLR,
    )  # fmt: skip
    if "states_every_n_steps" in args:
        own["states_every_n_steps"] = 0
    return argparse.Namespace(**args | own | changed)


def net() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Linear(8, 12), torch.nn.Dropout(0.2), torch.nn.Linear(12, 8))


def train(args) -> SimpleNamespace:
    """Train as the flags say. Returns weights, losses, the ids of every batch and the ends of epochs of this launch.

    saved: (epoch, optimizer steps) where a trainer comes to the checkpoint of an epoch.
    """
    plugins = manager.install(manager.listed(args.extensions))
    plugins.hook.check_arguments(args=args)
    manager.set_args(args)
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(3)
    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=args.gradient_accumulation_steps)
    models = Models("sdxl", net())
    plugins.hook.models_loaded(models=models)
    optimizer = args.optimizer(models.unet.parameters(), lr=0.05)
    hook_points.optimizer_built(models, optimizer)
    schedule = args.schedule(optimizer, lambda step: 1 / (1 + 0.3 * step))
    images = Images(int(args.in_json), args.train_batch_size, args.poison, args.replaced)
    data = torch.utils.data.DataLoader(images, batch_size=1, collate_fn=lambda items: items[0])
    unet, optimizer, data, schedule = accelerator.prepare(models.unet, optimizer, data, schedule)
    found = SimpleNamespace(losses=[], seen=[], saved=[], models=models)
    try:
        _loop(args, accelerator, unet, optimizer, schedule, data, found)
    finally:
        plugins.hook.run_ended(error=None)
    found.run = loop.current()
    found.weights = [parameter.detach().clone() for parameter in models.unet.parameters()]
    return found


def _loop(args, accelerator, unet, optimizer, schedule, data, found):
    bar = SimpleNamespace(update=lambda steps: None)
    steps = loop.begin(args, accelerator, optimizer, schedule, data, bar)
    random.random(), torch.rand(3)  # trainers draw at their start, too: for trackers, names, samples
    per_epoch = -(-len(data) // args.gradient_accumulation_steps)
    for epoch in loop.epochs(-(-args.max_train_steps // per_epoch)):
        for batch in loop.batches(data, epoch):
            with accelerator.accumulate(unet):
                noise = torch.randn_like(batch["x"]) + random.random() + np.random.random()
                loss = functional.mse_loss(unet(batch["x"] + 0.1 * noise), batch["x"])
                accelerator.backward(loss)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad(set_to_none=True)
            steps += accelerator.sync_gradients
            found.losses.append(loss.item())
            found.seen.append((epoch, tuple(batch["image_keys"])))
            loop.micro_step_ended(steps, loss.item(), batch)
            if steps >= args.max_train_steps:
                break
        if args.save_every_n_epochs:
            found.saved.append((epoch + 1, steps))


def same(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    """Bit for bit."""
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
