"""Reads the batches of a data set: cached latents, composed texts, token ids."""

from collections.abc import Callable, Container
from typing import Protocol

import numpy as np
import torch

from extensions.data.corrupt import Reader
from extensions.data.loader import Place
from extensions.data.metadata import Sample


class Batch(dict):
    """One batch, as upstream's trainers take it; from a loader's worker it comes by value, through their pipe.

    PyTorch would put each tensor into a file of /dev/shm and hand its descriptor over by a socket in TMPDIR. Where
    either is full, the worker's thread fails at that, the batch is lost, and the trainer waits for it for ever.
    """

    def __reduce__(self):
        return as_tensors, ({name: as_arrays(value) for name, value in self.items()},)


def as_arrays(value):
    """Return a value of a batch without tensors: each as the array that it is."""
    if isinstance(value, torch.Tensor):
        return value.numpy()
    return [as_arrays(each) for each in value] if isinstance(value, list) else value


def as_tensors(values) -> Batch:
    """Return the batch of such values."""

    def back(value):
        if isinstance(value, np.ndarray):
            return torch.from_numpy(value)
        return [back(each) for each in value] if isinstance(value, list) else value

    return Batch((name, back(value)) for name, value in values.items())


class Outputs(Protocol):
    """What text encoders gave for `texts` texts of each row."""

    texts: int

    def epoch_of(self, epoch: int) -> int: ...

    def read(self, rows: list[int], epoch: int) -> list[torch.Tensor]: ...


class Batches:
    """What the places of the data hold. Everything that it needs is handed in.

    reader: of an index's rows, with what takes a corrupt one's place. compose(sample, epoch): the text that a sample
    is trained on, epochs counted from 1. tokenize(texts): an int64 tensor (b, chunks, 77) a text encoder.
    """

    def __init__(
        self,
        reader: Reader,
        compose: Callable[[Sample, int], str],
        tokenize: Callable[[list[str]], list[torch.Tensor]],
    ):
        self.reader, self.compose, self.tokenize = reader, compose, tokenize
        self.left_out: Container[int] = frozenset()  # rows that take no corrupt one's place
        self.outputs: Outputs | None = None  # of the text encoders, instead of token ids for them

    def at(self, place: Place) -> Batch:
        """One batch, as upstream's trainers take it.

        latents float32 (b, 4, h/8, w/8), not scaled; token ids, or what encoders gave for them, float32; sizes int64
        (b, 2) as (h, w) in pixels.
        """
        read = [self.reader.read(row, self.left_out) for row in place.rows]
        samples, cached = [one.sample for one in read], [one.latents for one in read]
        skipped = [each for one in read for each in one.skipped]
        named = getattr(self.reader.index, "source_of", None)
        of_sources = {"image_sources": [named(row) for row in place.rows]} if named else {}  # a mixture's
        texts = [self.compose(sample, place.epoch) for sample in samples]
        outputs = self.outputs.read([one.row for one in read], place.epoch) if self.outputs else None
        return Batch(
            latents=torch.stack([torch.from_numpy(item.latents) for item in cached]),
            images=None,
            captions=texts,
            input_ids_list=self.tokenize(texts) if outputs is None else None,
            text_encoder_outputs_list=outputs,
            loss_weights=torch.ones(len(samples)),
            original_sizes_hw=torch.tensor([item.original_size[::-1] for item in cached]),
            crop_top_lefts=torch.tensor([item.crop[::-1] for item in cached]),
            target_sizes_hw=torch.tensor([(s.height, s.width) for s in samples]),
            alpha_masks=None,
            image_keys=[sample.key for sample in samples],
            # Corrupt, and replaced by others of their bucket: for the plugin that counts them.
            skipped_keys=[key for key, _ in skipped],
            skipped_reasons=[reason for _, reason in skipped],
            **of_sources,
        )
