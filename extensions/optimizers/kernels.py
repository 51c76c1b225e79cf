"""Compiles how updates are rounded into one kernel each, on a GPU: operator by operator, memory is passed six times.

`rounding.py` is the definition. A compiled form is tried on every kind of number first, and used only where it gives
the definition's bits: a compiler may leave out a cast to bf16 that is made for its rounding alone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch

from extensions.optimizers import rounding

Rounding = Callable[[torch.Tensor, torch.Tensor], None]  # values in fp32, changed in place; noise in int16
TRIED = 1 << 20  # numbers on which a compiled form is compared


@cache
def of(device: torch.device) -> tuple[Rounding, Rounding]:
    """Return `nudge_` and `rest_` for this device: compiled on a GPU, as they are where that fails or elsewhere."""
    if device.type != "cuda":
        return rounding.nudge_, rounding.rest_
    return tried(rounding.nudge_, device), tried(rounding.rest_, device)


def tried(function: Rounding, device: torch.device) -> Rounding:
    """Return a compiled form that has given the same bits; else the function itself, which is told."""
    try:
        made = compiled(function)
        if not (wrong := different(function, made, device)):
            return made
        why = f"{wrong:,} of {TRIED:,} numbers come out otherwise"
    except Exception as error:  # the compiler's own, of many kinds: Triton or a C compiler is missing, a full disk …
        why = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    print(f"bf16_updates: rounds without a compiled kernel ({why}): the same numbers, more slowly", flush=True)
    return function


def compiled(function: Rounding) -> Rounding:
    """Compile for buffers of any length."""
    return torch.compile(function, dynamic=True, fullgraph=True)


def different(one: Rounding, other: Rounding, device: torch.device) -> int:
    """Count the numbers that two functions round otherwise: any bits, any noise."""
    source = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (TRIED,), generator=source, dtype=torch.int64).to(torch.int32)
    near = torch.randn(TRIED // 2, generator=source) * 0.02  # numbers such as weights are
    bits[: TRIED // 2] = near.view(torch.int32)
    noise = torch.randint(-(2**15), 2**15, (TRIED,), generator=source, dtype=torch.int32).to(torch.int16)
    results = []
    for function in (one, other):
        values = bits.clone().to(device).view(torch.float32)
        function(values, noise.to(device))
        results.append(values.to(torch.bfloat16))
    equal = (results[0] == results[1]) | (results[0].isnan() & results[1].isnan())
    return int((~equal).sum())
