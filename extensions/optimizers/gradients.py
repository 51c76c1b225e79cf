"""Keeps the gradients of DDP once, as views of its buckets, at every micro-step.

DDP reduces in buckets. With `gradient_as_bucket_view` a gradient is a piece of its bucket, but only from the first
synchronised backward pass on, and `zero_grad(set_to_none=True)`, which both trainers call, throws the pieces away:
under accumulation autograd then makes gradients of their own beside the buckets, twice the bytes, until the last
micro-step (PyTorch's reducer.cpp says so). So here

- each model makes two synchronised backward passes of gradient zero before its first one: in the first DDP learns in
  which order gradients come, before the second it lays out its buckets anew, once and for all;
- gradients become zero in place.

The passes run on the first batch's own texts and on a corner of its latents, without their graph, before there is
optimizer state: at no time are there two copies. Random streams are left as they were.

The sums are the same numbers, with one exception: among three or more processes a reduction adds in an order that
follows the layout of the buckets, and DDP alone reduces a launch's first update in another layout than all later
ones. Here all are reduced in the later one, which a run that goes on from a state has, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import MethodType
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import DistributedDataParallelKwargs
from torch.nn.parallel import DistributedDataParallel

from extensions.base.errors import UserError

if TYPE_CHECKING:
    from accelerate import Accelerator

PASSES = 2  # DDP lays out its buckets before the second
CORNER = 64  # latents a side: what the passes compute is thrown away


def keep_once(accelerator: Accelerator) -> None:
    """Let accelerate, before it prepares anything, wrap models in DDP whose gradients are kept once.

    Without several processes, or with another engine than DDP, nothing is another. Buffers are not sent again: the
    models' are constants (CLIP's position ids), alike from the start, and all ranks would wait for the first.
    """
    accelerator.ddp_handler = DistributedDataParallelKwargs(gradient_as_bucket_view=True, broadcast_buffers=False)
    prepare_model, prepare_optimizer = accelerator.prepare_model, accelerator.prepare_optimizer
    wrapped = []

    def model(*arguments, **keywords):
        prepared = prepare_model(*arguments, **keywords)
        if isinstance(prepared, DistributedDataParallel):
            wrapped.append(prepared)
            _lay_out_before_the_first_pass(prepared)
        return prepared

    def optimizer(optimizer, *arguments, **keywords):
        _zero_in_place_once(optimizer, wrapped)
        return prepare_optimizer(optimizer, *arguments, **keywords)

    accelerator.prepare_model, accelerator.prepare_optimizer = model, optimizer


def _zero_in_place_once(optimizer: torch.optim.Optimizer, wrapped: list) -> None:
    """Change how gradients become zero, once something is wrapped."""
    inner = optimizer.zero_grad

    def zero_grad(_optimizer, set_to_none: bool = True) -> None:
        if wrapped:
            zero_in_place(optimizer)
        else:
            inner(set_to_none=set_to_none)

    optimizer.zero_grad = MethodType(zero_grad, optimizer)


@torch.no_grad()
def zero_in_place(optimizer: torch.optim.Optimizer) -> None:
    """Make every gradient zero and leave it where it is."""
    found = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if found:
        torch._foreach_zero_(found)


def _lay_out_before_the_first_pass(model: DistributedDataParallel) -> None:
    def before(_model, arguments: tuple, keywords: dict[str, Any]) -> None:
        if torch.is_grad_enabled():
            handle.remove()
            lay_out(model, arguments, keywords)

    handle = model.register_forward_pre_hook(before, with_kwargs=True)


def lay_out(model: DistributedDataParallel, arguments: tuple, keywords: dict[str, Any]) -> None:
    """Let DDP lay out its buckets for good, by backward passes of gradient zero on what the model is called with.

    UserError, on every process, where a parameter that trains gets no gradient: DDP would wait for it.
    """
    with _apart(model):
        for _ in range(PASSES):
            # Else DDP would hold the old buckets while it makes the new ones.
            model.zero_grad(set_to_none=True)
            given = (
                [_corner(value) for value in arguments],
                {name: _corner(value) for name, value in keywords.items()},
            )
            outputs = [tensor for tensor in _tensors(model(*given[0], **given[1])) if tensor.requires_grad]
            torch.autograd.backward(outputs, [torch.zeros_like(tensor) for tensor in outputs])
            _require_gradients(model)
        torch._foreach_zero_([p.grad for p in model.parameters() if p.grad is not None])


@contextmanager
def _apart(model: DistributedDataParallel) -> Iterator[None]:
    """Synchronise, compile nothing for the corner's size, and leave the random streams as they were."""
    devices = [model.device] if model.device.type == "cuda" else []
    synchronises = model.require_backward_grad_sync
    model.require_backward_grad_sync = True
    try:
        with torch.random.fork_rng(devices), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        model.require_backward_grad_sync = synchronises


def _require_gradients(model: DistributedDataParallel) -> None:
    without = [name for name, p in model.module.named_parameters() if p.requires_grad and p.grad is None]
    if without:
        raise UserError(
            f"{without[0]} trains and gets no gradient (one of {len(without)}): several processes would wait for it; "
            "freeze it, or give --ddp_gradients_as_upstream"
        )


def _corner(value: Any) -> Any:
    """Return what a model is called with, without its graph; latents (b, c, h, w) cut to a corner of each image."""
    if isinstance(value, dict):
        return {name: _corner(inner) for name, inner in value.items()}
    if not isinstance(value, torch.Tensor):
        return value
    cut = value[..., :CORNER, :CORNER] if value.dim() == 4 else value
    return cut.detach().requires_grad_(value.requires_grad)


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    """Yield the tensors of what a model gave back: one, a container, or an object that has them for attributes."""
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, dict):
        for inner in output.values():
            yield from _tensors(inner)
    elif isinstance(output, (list, tuple)):
        for inner in output:
            yield from _tensors(inner)
    elif hasattr(output, "__dict__"):  # sd-scripts' U-Net for SD2 makes an object of its own
        yield from _tensors(vars(output))
