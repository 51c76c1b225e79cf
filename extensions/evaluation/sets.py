"""Picks the images that a model is asked about: held out of the training set, or of a set of their own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from extensions.base.errors import UserError, printable
from extensions.data import held_out, index, store
from extensions.data.composing import fields_read
from extensions.data.latents import CorruptSample
from extensions.evaluation.asking import Image
from extensions.evaluation.texts import texts_of, undrawn

if TYPE_CHECKING:
    import numpy as np

    from extensions.data.index.reader import Index

NAMED = 3  # ids in a message


@dataclass(frozen=True)
class Rows:
    """Which images are asked about. held: rows of `index`; beside: rows of the training set, to be compared with.

    out: rows of the training set that must not be trained on. folder: of the latents of `index`.
    """

    index: Index
    folder: Path
    held: np.ndarray
    beside: np.ndarray
    out: np.ndarray


def of_share(training: Index, args) -> Rows:
    """Choose by --validation_share or --validation_count. UserError where it holds out nothing, or too much."""
    name = "validation_count" if args.validation_share is None else "validation_share"
    out, beside = held_out.choose(training, args.validation_share, args.validation_count)
    held_out.require_some(out, len(training), f"--{name}={getattr(args, name)}")
    return Rows(training, Path(args.train_data_dir), out, beside, out)


def of_own(training: Index, args) -> Rows:
    """Choose from --validation_json. UserError where images of it are trained on, too."""
    own = index.open_for(args.validation_json, args.validation_data_dir, fields_read(args))
    if both := held_out.in_both(own, training):
        names = ", ".join(printable(key) for key in both[:NAMED])
        raise UserError(
            f"--validation_json={args.validation_json}: {len(both):,} of its {len(own):,} images are in --in_json, "
            f"too: {names}{', …' if len(both) > NAMED else ''}; take them out of one of the two"
        )
    none, beside = held_out.choose(training, None, 0)
    _, held = held_out.choose(own, None, 0)
    return Rows(own, Path(args.validation_data_dir), held, beside, none)


def images(opened: Index, folder: Path, rows: Iterable[int], args) -> list[Image]:
    """Read images whole, latents and texts. UserError for one that is corrupt: no other can stand for it."""
    reader, quiet, found = store.open_store(folder, opened), undrawn(args), []
    for row in rows:
        sample = opened[int(row)]
        try:
            latents = reader.read(int(row), sample)
        except CorruptSample as error:
            raise UserError(f"validation: {error}; leave it out of the set (make index EXCLUDE=…)") from None
        found.append(Image(sample, latents, texts_of(sample, args.validation_seed, quiet)))
    return found
