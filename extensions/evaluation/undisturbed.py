"""Lets a plugin use the models in the middle of a training, and leaves no trace of it."""

from collections.abc import Iterator
from contextlib import contextmanager

from extensions import manager
from extensions.model.models import Models
from extensions.resume import randomness


@contextmanager
def undisturbed(models: Models, optimizer=None) -> Iterator[None]:
    """Give the models in eval mode, without gradients; modes and random streams are put back, even after an error.

    optimizer: one that is schedule-free trains other weights than those to be looked at, and has eval() and train().
    On a GPU the memory that was needed is given back.
    """
    import torch

    streams = randomness.streams()
    parts = [part for model in models.named().values() for part in model.modules()]
    training = [part for part in parts if part.training]
    switch = _switch_of(optimizer)
    if switch:
        switch.eval()
    for part in training:
        part.training = False
    try:
        with torch.no_grad():
            yield
    finally:
        for part in training:
            part.training = True
        if switch:
            switch.train()
        randomness.restore(streams)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _switch_of(optimizer):
    """Return the optimizer below accelerate's wrapper, if it changes weights between training and use."""
    inner = getattr(optimizer, "optimizer", optimizer)
    return inner if callable(getattr(inner, "eval", None)) and callable(getattr(inner, "train", None)) else None


def averages_of(run) -> dict:
    """Return {name: function giving a context manager} of what plugins average; all processes enter together."""
    found: dict = {}
    for each in manager.current().hook.averages(run=run):
        found |= each
    return found
