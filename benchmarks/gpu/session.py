"""Holds the reference trainer's models, optimizer and batches in one process, for stages that vary a micro-step."""

import math

import torch

from benchmarks.gpu.setting import Setting, free
from benchmarks.gpu.trainer import ACCUMULATION, TEMPLATE, needed_here, with_plugins
from extensions.flags.words import Flags
from extensions.logbook import registry
from extensions.reference.__main__ import Reference
from extensions.trainer import start

PLUGINS = ("unet_percent", "dual_tag", "token_chunks")
# Far above a run's: weights in bf16 must move for a difference to show.
RATES = {"learning_rate": 1e-4, "learning_rate_te1": 1e-4, "learning_rate_te2": 1e-4}
NOT_HERE = (
    "xformers", "save_every_n_epochs", "log_with", "log_prefix", "persistent_data_loader_workers", "max_train_epochs",
)  # fmt: skip
KEPT: dict[str, "Session"] = {}


class Parsed(Reference):
    """The reference trainer up to its checked flags."""

    def train(self, args) -> None:
        self.args = args


class Session:
    """run: the reference trainer, prepared. batches: of one image each, by texts of 1, 2 and 3 chunks in turn."""

    def __init__(self, setting: Setting, data: str = "data"):
        from extensions.reference.train import Training

        self.setting = setting
        self.run = Training(arguments(setting, data), "sdxl")
        self.run.prepare()
        self.batches = sorted(self.run.loader, key=lambda batch: (chunks(batch), tuple(batch["latents"].shape)))
        named = (model.parameters() for model in self.run.models.named().values())
        self.parameters = [p for parameters in named for p in parameters if p.requires_grad]

    def loss(self, batch: dict) -> torch.Tensor:
        """Forward and backward pass of one micro-step; the loss, which is not read."""
        loss = self.run.loss(batch)
        self.run.accelerator.backward(loss)
        return loss.detach()

    def update(self) -> None:
        """Update the weights by the gradients that are there."""
        self.inner.step()
        self.clear()

    def clear(self) -> None:
        """Drop the gradients."""
        self.inner.zero_grad(set_to_none=True)

    @property
    def inner(self) -> torch.optim.Optimizer:
        """The optimizer without accelerate's wrapper, which steps when it pleases."""
        return self.run.optimizer.optimizer

    def step(self, batches: list[dict]) -> list[torch.Tensor]:
        """One optimizer step over these micro-steps; their losses."""
        losses = [self.loss(batch) for batch in batches]
        self.update()
        return losses

    def batch(self, size: int, of_chunks: int = 1) -> dict:
        """A batch of so many images of the first size, with texts of so many chunks."""
        fits = [batch for batch in self.batches if chunks(batch) == of_chunks]
        alike = [batch for batch in fits if batch["latents"].shape == fits[0]["latents"].shape]
        return joined([alike[number % len(alike)] for number in range(size)])


def arguments(setting: Setting, data: str, **more: object):
    """Parse and check the reference trainer's flags: TEMPLATE.sh's on the made inputs, without checkpointing."""
    work = setting.work
    flags = with_plugins(Flags(registry.ask(TEMPLATE)[7:]), PLUGINS).without(*NOT_HERE)
    made = {
        "pretrained_model_name_or_path": work / "base.safetensors",
        "in_json": work / data / "meta_lat.json",
        "train_data_dir": work / data / "latents",
        "tokenizer_cache_dir": work / "tokenizers",
        "output_dir": work / "session",
        "max_data_loader_n_workers": 0,
        "max_train_steps": 1000,
        "gradient_accumulation_steps": ACCUMULATION,
        "seed": 1,
        **RATES,
        **more,
    }
    for name, value in made.items():
        flags = flags.with_(name, value)
    parsed = Parsed()
    start.main(parsed, "sdxl_train.py", needed_here(flags, setting).words())
    return parsed.args


def current(setting: Setting) -> Session:
    """Return this process's session, made where there is none: loading the full size takes a while."""
    if "it" not in KEPT:
        KEPT["it"] = Session(setting)
    KEPT["it"].setting = setting
    return KEPT["it"]


def drop(setting: Setting) -> None:
    """Free the session's memory."""
    KEPT.clear()
    free(setting)


def chunks(batch: dict) -> int:
    """How many chunks of 75 tokens the texts of a batch have."""
    return math.ceil(batch["input_ids_list"][0].numel() / batch["latents"].shape[0] / 77)


def joined(batches: list[dict]) -> dict:
    """Batches of one size and number of chunks as one."""
    first = batches[0]
    made = {key: torch.cat([b[key] for b in batches]) for key, v in first.items() if isinstance(v, torch.Tensor)}
    lists = zip(*(batch["input_ids_list"] for batch in batches), strict=True)
    return first | made | {"input_ids_list": [torch.cat(one) for one in lists]}
