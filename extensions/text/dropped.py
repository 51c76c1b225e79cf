"""Marks texts that are dropped for zeros, from where they are composed to where they are encoded.

A dropped text is "", whose states models are given as the null condition; or a blank, which no tokenizer sees, and
whose rows of ids are all zeros: no text's are, for each begins with BOS. Its states become zeros, as diffusers'
pipelines give them for SDXL without a negative prompt (force_zeros_for_empty_prompt).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

ZERO = " "  # the text; null is ""


def marked(ids: Sequence[torch.Tensor], texts: Sequence[str]) -> list[torch.Tensor]:
    """Return the ids of a batch, int64 (b, n, 77) a text encoder, those of texts that become zeros all zero."""
    rows = [number for number, text in enumerate(texts) if text == ZERO]
    if not rows:
        return list(ids)
    made = [each.clone() for each in ids]
    for each in made:
        each[rows] = 0
    return made


def zeroed(states: Sequence[torch.Tensor], ids: torch.Tensor) -> list[torch.Tensor]:
    """Return the states of a batch, (b, …) each, those of marked rows zero. ids: of the first text encoder.

    A row is told without waiting for the device: nothing is read off it.
    """
    kept = ids.flatten(1).ne(0).any(1)
    return [
        each * kept.to(each.device, each.dtype).view(-1, *[1] * (each.dim() - 1)) if len(each) else each
        for each in states
    ]
