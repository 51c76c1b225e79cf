"""Lays fp32 copies of several tensors into one buffer, so that one kernel does what many would."""

from __future__ import annotations

from collections.abc import Sequence

import torch

ALIGNED = 128  # elements; 512 bytes in fp32, as PyTorch's allocator begins each tensor


class Flat:
    """fp32 copies of tensors of one device, in order, each at a multiple of ALIGNED elements of `buffer`.

    views: the copies, contiguous, in the tensors' shapes. Between two of them the buffer holds anything.
    """

    def __init__(self, tensors: Sequence[torch.Tensor]):
        self.starts, end = [], 0
        for tensor in tensors:
            self.starts.append(end)
            end += -(-tensor.numel() // ALIGNED) * ALIGNED
        device = tensors[0].device if tensors else None
        self.buffer = torch.empty(end, dtype=torch.float32, device=device)
        self.views = [
            self.buffer[start : start + tensor.numel()].view(tensor.shape)
            for start, tensor in zip(self.starts, tensors, strict=True)
        ]
        self.take(self.views, tensors)

    @staticmethod
    def take(into: list[torch.Tensor], tensors: Sequence[torch.Tensor]) -> None:
        """Copy values and convert their dtype: of all tensors at once, where the device can."""
        if into:
            torch._foreach_copy_(into, list(tensors))

    def holding(self, tensors: Sequence[torch.Tensor]) -> Flat:
        """Return a buffer of these tensors' values: this one, where they are its own views."""
        own = [(view.data_ptr(), view.shape, view.stride()) for view in self.views]
        if own == [(tensor.data_ptr(), tensor.shape, tensor.stride()) for tensor in tensors]:
            return self
        return Flat(tensors)
