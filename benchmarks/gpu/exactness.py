"""Repeats updates from one start: equal bits or how far apart, by default and deterministic; NaN is seen."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from benchmarks.gpu import session
from benchmarks.gpu.session import Session
from benchmarks.gpu.setting import Setting, wait
from benchmarks.gpu.trainer import ACCUMULATION
from benchmarks.gpu.variants import REENTRANT, switched
from extensions.optimizers.finite import finite

UPDATES = 3
BAD = {"nan": float("nan"), "+inf": float("inf"), "-inf": float("-inf")}


def exactness(setting: Setting) -> None:
    """NaN first, which is cheap; then the same updates twice, twice."""
    for name, seen in nan_seen(setting).items():
        setting.check(name, seen)
    held = session.current(setting)
    start = copies(held)
    setting.put("as torch does by itself", repeated(setting, held, start))
    with deterministic():
        try:
            found = repeated(setting, held, start)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            found = {"raised": str(error).splitlines()[0]}
    setting.put("deterministic algorithms", found)
    setting.check("deterministic updates repeat their bits", found.get("tensors") == 0)
    session.drop(setting)


def nan_seen(setting: Setting) -> dict[str, bool]:
    """Tell whether `on_nan` sees each kind of bad number in one element of many, and none where there is none."""
    found = {}
    for dtype in (torch.bfloat16, torch.float32):
        for name, value in BAD.items():
            gradients = [torch.randn(size, device=setting.device, dtype=dtype) for size in (7, 4097, 100_003)]
            clean = finite(gradients)
            gradients[1][4096] = value
            found[f"{name} in a gradient of {str(dtype).removeprefix('torch.')} is seen"] = clean and not finite(
                gradients
            )
    return found


def copies(held: Session) -> list[torch.Tensor]:
    """The trained weights in the machine's memory."""
    return [parameter.detach().to("cpu", copy=True) for parameter in held.parameters]


def repeated(setting: Setting, held: Session, start: list[torch.Tensor]) -> dict:
    """Train some updates twice from the same weights: how many tensors and elements differ, by how much at most."""
    losses, first = updates(setting, held, start), copies(held)
    again = updates(setting, held, start)
    tensors = elements = total = 0
    largest = 0.0
    for parameter, kept in zip(held.parameters, first, strict=True):
        other, total = kept.to(parameter.device), total + kept.numel()
        if torch.equal(parameter, other):
            continue
        tensors, elements = tensors + 1, elements + int((parameter != other).sum())
        largest = max(largest, float((parameter.float() - other.float()).abs().max()))
    moved = sum(not torch.equal(one, other) for one, other in zip(start, first, strict=True))
    return {
        "tensors": tensors, "elements": elements, "of": total, "largest": largest, "moved_tensors": moved,
        "equal_losses": losses["losses"] == again["losses"],
        "update_seconds": min(losses["seconds"], again["seconds"]) / UPDATES,
    }  # fmt: skip


def updates(setting: Setting, held: Session, start: list[torch.Tensor]) -> dict:
    """Train some updates from these weights, a new optimizer state and one seed; losses and seconds."""
    with torch.no_grad():
        for parameter, kept in zip(held.parameters, start, strict=True):
            parameter.copy_(kept)
    held.clear()
    held.inner.state.clear()
    torch.manual_seed(2)
    batches = [held.batch(1, 1 + number % 3) for number in range(setting.of_size(ACCUMULATION, 1))]
    wait(setting)
    began = time.perf_counter()
    with switched(held, REENTRANT):
        losses = [held.step(batches) for _ in range(UPDATES)]
    wait(setting)
    return {"losses": [float(loss) for step in losses for loss in step], "seconds": time.perf_counter() - began}


@contextmanager
def deterministic() -> Iterator[None]:
    """Ask for kernels that give the same bits each time; an operator that has none raises.

    warn_only would not do: with it attention, flash's and cuDNN's, stays as it is and warns.
    """
    torch.use_deterministic_algorithms(True)
    filled, torch.utils.deterministic.fill_uninitialized_memory = (
        torch.utils.deterministic.fill_uninitialized_memory, False,
    )  # fmt: skip
    before = torch.backends.cudnn.deterministic
    torch.backends.cudnn.deterministic = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.utils.deterministic.fill_uninitialized_memory = filled
        torch.backends.cudnn.deterministic = before
