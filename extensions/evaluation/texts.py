"""Composes the texts that a validation image is asked about: its own, tags or caption alone, and none."""

import argparse
import copy
import random

from extensions import manager
from extensions.data.composing import composed
from extensions.data.metadata import Sample

TEXT, TAGS, CAPTION, EMPTY = COLUMNS = "text", "tags", "caption", "empty"


def undrawn(args: argparse.Namespace) -> argparse.Namespace:
    """Return the flags with everything off that draws what becomes of a text: dropouts and shuffles."""
    quiet = copy.copy(args)
    quiet.caption_dropout_rate = 0.0
    for flag in manager.flags_of(manager.current().names):
        if flag.off is not None:
            setattr(quiet, flag.name, flag.off)
    return quiet


def texts_of(sample: Sample, seed: int, args: argparse.Namespace) -> dict[str, str]:
    """Return {column: text}. args: `undrawn`'s. What a policy still draws (one of two parts) comes from the id."""
    parts = {
        TEXT: (sample.caption, sample.tags), TAGS: ("", sample.tags), CAPTION: (sample.caption, ""), EMPTY: ("", ""),
    }  # fmt: skip
    return {
        column: composed(args, sample, caption, tags, random.Random(f"{seed}:{sample.key}"))
        for column, (caption, tags) in parts.items()
    }
