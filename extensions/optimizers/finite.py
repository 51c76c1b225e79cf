"""Tells whether tensors hold NaN or infinity, with one read of each device that they are on."""

import math
from collections import defaultdict
from collections.abc import Iterable

import torch


def finite(tensors: Iterable[torch.Tensor]) -> bool:
    """Tell whether none does; of any floating dtypes. One number a tensor is made on its device, one is read."""
    on: dict[torch.device, list[torch.Tensor]] = defaultdict(list)
    for tensor in tensors:
        on[tensor.device].append(tensor)
    norms = [torch.stack(torch._foreach_norm(some, math.inf, dtype=torch.float32)) for some in on.values()]
    return all(bool(each.isfinite().all()) for each in norms)
