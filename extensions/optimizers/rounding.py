"""Rounds fp32 to bf16: stochastic rounding, and Kahan's remainder.

bf16 is the upper half of an fp32 number's bits: 8 bits of precision, so that a weight of 0.02 moves in steps of
1.2e-4 and an update below half of that is lost when rounding to nearest.
"""

import torch

ELEMENTS = 4  # for which one random 64-bit number is drawn


def draw_(words: torch.Tensor, generator: torch.Generator) -> None:
    """Fill int64 `words` with random bits; each is for four elements. generator: on their device."""
    words.random_(-(2**63), None, generator=generator)


def nudge_(values: torch.Tensor, noise: torch.Tensor) -> None:
    """Round fp32 `values` in place to numbers that bf16 holds, so that the mean is the value.

    Each of the two neighbours is taken with a probability in proportion to its nearness: 16 random bits, `noise` in
    int16, are added to the 16 that are cut off (arXiv 2010.06192). What bf16 holds, infinities and NaN stay.
    """
    odd = values.isnan()  # of which the sum may be a number
    bits = values.view(torch.int32)
    bits.add_(noise).add_(0x8000).bitwise_and_(-0x10000)  # noise is signed: its middle is put at 0.5
    values.masked_fill_(odd, float("nan"))


def rest_(values: torch.Tensor, noise: torch.Tensor) -> None:
    """Leave in the place of fp32 `values` what the nearest bf16 lacks of them (Kahan, 1965), in bf16's numbers.

    The remainder is rounded stochastically. To nearest it would stop growing where its own half unit exceeds
    the update: a normalisation weight of 1 at updates of 1.5e-6 stands still after some hundred steps. Where the
    nearest is no finite number the remainder is 0.
    """
    bits = values.view(torch.int32)
    # To nearest, to even from the middle; a cast there and back is what a compiler may leave out.
    nearest = (bits >> 16).bitwise_and_(1).add_(bits).add_(0x7FFF).bitwise_and_(-0x10000)
    values.sub_(nearest.view(torch.float32))
    values.nan_to_num_(0.0, 0.0, 0.0)
    nudge_(values, noise)
