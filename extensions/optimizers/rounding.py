"""Rounds fp32 to bf16: stochastic rounding, and Kahan's remainder.

bf16 is the upper half of an fp32 number's bits: 8 bits of precision, so that a weight of 0.02 moves in steps of
1.2e-4 and an update below half of that is lost when rounding to nearest.
"""

import torch


def stochastic(values: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """fp32 `values` as bf16, each rounded to one of its two neighbours so that the mean is the value.

    A neighbour is taken with a probability in proportion to its nearness: 16 random bits are added to the 16 that
    are cut off (arXiv 2010.06192). What bf16 can hold, infinities and NaN stay as they are. generator: on
    the device of `values`; draws one 64-bit number for four elements.
    """
    count = values.numel()
    words = torch.empty(-(-count // 4), dtype=torch.int64, device=values.device)
    noise = words.random_(-(2**63), None, generator=generator).view(torch.int16)[:count].view(values.shape)
    bits = values.view(torch.int32) + noise
    bits.add_(0x8000).bitwise_and_(-0x10000)  # noise is signed: its middle is put at 0.5
    return torch.where(values.isfinite(), bits.view(torch.float32), values).to(torch.bfloat16)


def compensated(values: torch.Tensor, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """fp32 `values` as (nearest bf16, bf16 remainder); their sum is the value to 16 bits (Kahan, 1965).

    The remainder is rounded stochastically. To nearest it would stop growing where its own half unit exceeds
    the update: a normalisation weight of 1 at updates of 1.5e-6 stands still after some hundred steps.
    """
    nearest = values.to(torch.bfloat16)
    remainder = stochastic(values - nearest.float(), generator)
    return nearest, torch.where(nearest.isfinite(), remainder, 0)
