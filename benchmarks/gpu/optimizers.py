"""Steps every optimizer of the table on the tensors that train, with each way of rounding: time, state, memory."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from bitsandbytes.optim import optimizer as of_bitsandbytes

from benchmarks.gpu.setting import Setting, begin_peak, free, out_of_memory, peak, seconds
from benchmarks.optimizers import WAYS, built
from extensions.flags import settings
from extensions.flags.words import Flags
from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers import state, waiting
from extensions.optimizers.updates import Updates
from extensions.plan import optimizer_memory, trained

TRAINED = "--learning_rate=1e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --unet_percent=71"
TINY = ((64, 64), (64,), (4096,), (80, 64), (32, 32, 3, 3), (128, 64))
JOINED = 3 * 1280  # rows of text encoder 2's queries, keys and values in one tensor
COMPARED = 20  # tensors, of bitsandbytes' kernels
OFF_THE_TABLE = 0.001  # of the state's bytes,
MAPS, COUNTERS = 2 * 256 * 4, 16  # beside what no table counts: bitsandbytes' two maps, counters a tensor
FOUR_BITS = "AdamW4bit"


@dataclass
class Weights:
    """Weights in bf16 with gradients, and their shapes."""

    parameters: list[torch.nn.Parameter]
    shapes: list[tuple[int, ...]]


def optimizers(setting: Setting) -> None:
    """Measure what costs most where it is least sure first: the time may end it."""
    weights = made(setting)
    setting.put("tensors", len(weights.shapes))
    setting.put("elements", sum(p.numel() for p in weights.parameters))
    setting.put("bitsandbytes, CUDA beside CPU", compared(setting, weights.shapes))
    found = out_of_memory(setting, lambda: waits(setting, weights))
    setting.put("bitsandbytes' waits", found)
    if "equal" in found:
        setting.check("weights do not depend on bitsandbytes' waits", found["equal"])
    free(setting)
    late = []
    for way in WAYS:
        for facts in optimizer_facts.OPTIMIZERS:
            began = time.time()
            if late:
                late.append(f"{facts.name}, {way}")
                continue
            one(setting, weights, facts, way)
            if setting.left() < 2 * (time.time() - began):
                late = [""]
    if late[1:]:
        setting.put("not reached", late[1:])


def one(setting: Setting, weights: Weights, facts: optimizer_facts.Facts, way: str) -> None:
    """Put the figures of one optimizer and one way of rounding, and check them against the table."""
    name = f"{facts.name}, {way}"
    found = out_of_memory(setting, lambda: measured(setting, weights, facts, way))
    setting.put(name, found)
    if "state_bytes" in found:
        planned, rest = found["state_planned_bytes"], MAPS + COUNTERS * len(weights.shapes)
        right = abs(found["state_bytes"] - planned) <= OFF_THE_TABLE * planned + rest
        setting.check(f"state of {name} is the table's", right)
    if facts.name == FOUR_BITS and "moved" in found:
        setting.check(f"{name} steps", found["moved"] and found["finite"])
    free(setting)


def made(setting: Setting) -> Weights:
    """Weights of what trains at 71 % and gradients of their size, on the device."""
    shapes = list(TINY)
    if not setting.tiny:
        models = trained.models(settings.of_words(Flags.of_text(TRAINED)))
        shapes = [part for model in models for shape in model.trained for part in apart(model.name, shape)]
    draws = torch.Generator(setting.device).manual_seed(0)

    def drawn(shape, scale) -> torch.Tensor:
        return torch.randn(shape, generator=draws, device=setting.device, dtype=torch.bfloat16) * scale

    parameters = [torch.nn.Parameter(drawn(shape, 0.02)) for shape in shapes]
    for parameter in parameters:
        parameter.grad = drawn(parameter.shape, 1e-3)
    return Weights(parameters, shapes)


def apart(model: str, shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """The tensors of a run that a tensor of the file becomes: transformers has queries, keys and values apart."""
    joined = model == "text encoder 2" and shape[0] == JOINED
    return [(shape[0] // 3, *shape[1:])] * 3 if joined else [shape]


def measured(setting: Setting, weights: Weights, facts: optimizer_facts.Facts, way: str) -> dict:
    """Seconds of a step, the state beside the table's, and what a step needs for a moment beside the plan's."""
    optimizer, done = built(facts, weights.parameters), iter(range(10**9))
    waiting.wait_only_where_needed(optimizer)  # as in a run
    if way != "nearest":
        Updates(optimizer, way == "kahan", 0, lambda: next(done))
    probe = weights.parameters[0].detach().clone()
    optimizer.step()  # it makes its state then
    before = begin_peak(setting)
    found = {"seconds": seconds(setting, optimizer.step, setting.of_size(2, 1))}
    for group in optimizer.param_groups:  # a rate of 1e-6 moves few weights of bf16
        group["lr"] = faster(group["lr"])
    optimizer.step()
    first = weights.parameters[0].detach()
    found |= {"moved": not torch.equal(probe, first), "finite": bool(first.isfinite().all())}
    with torch.no_grad():
        weights.parameters[0].copy_(probe)
    rest = 2 * sum(p.numel() for p in weights.parameters) if way == "kahan" else 0
    found["state_bytes"] = state.size(optimizer)
    found["state_planned_bytes"] = facts.state_bytes(weights.shapes, 2) + rest
    if setting.cuda:
        name, groups = facts.cls.rpartition(".")[2].lower(), [weights.shapes]
        nearest = way == "nearest"
        found["moment_bytes"] = peak(setting)["allocated_bytes"] - before
        found["moment_planned_bytes"] = (
            optimizer_memory.step_bytes(name, weights.shapes, 2)
            if nearest
            else optimizer_memory.stand_in_bytes(name, groups, way)
        )
    return found


def faster(rate):
    """A rate that moves weights of bf16, in the form that it has; None, of an optimizer with its own, stays."""
    if isinstance(rate, torch.Tensor):
        return rate.fill_(1e-2)
    return None if rate is None else 1e-2


def compared(setting: Setting, shapes: list[tuple[int, ...]]) -> dict | str:
    """bitsandbytes' kernels for GPUs beside those for CPUs: weights that differ after three steps, by how much."""
    if not setting.cuda:
        return "skipped: there is no GPU to compare with"
    found = {}
    for name in ("AdamW8bit", "Lion8bit"):
        given = some(shapes)
        there, here = (after(name, device, *given) for device in ("cuda", "cpu"))
        pairs = list(zip(there, here, strict=True))
        found[name] = {
            "elements": sum(int((a != b).sum()) for a, b in pairs),
            "of": sum(a.numel() for a in here),
            "largest": max(float((a - b).abs().max()) for a, b in pairs),
        }
    return found


def waits(setting: Setting, weights: Weights) -> dict:
    """A step of AdamW8bit as bitsandbytes waits for the GPU and as a run does: seconds; whether weights are equal."""
    facts, ends, found = optimizer_facts.of_flag("AdamW8bit"), [], {}
    given = some(weights.shapes)
    for name, ours in (("seconds with them", False), ("seconds as in a run", True)):
        with waits_restored():
            optimizer = built(facts, weights.parameters)
            if ours:
                waiting.wait_only_where_needed(optimizer)
            found[name] = seconds(setting, optimizer.step, setting.of_size(5, 1))
            ends.append(after(facts.name, setting.device, *given))
        del optimizer
        free(setting)
    return found | {"equal": all(map(torch.equal, *ends))}


@contextmanager
def waits_restored() -> Iterator[None]:
    """Leave bitsandbytes as it waited before."""
    wait = of_bitsandbytes.sync_gpu
    try:
        yield
    finally:
        of_bitsandbytes.sync_gpu = wait


def some(shapes: list[tuple[int, ...]]) -> tuple[list, list]:
    """Weights of some shapes, from the smallest to a large one, and the gradients of three steps."""
    by_size = sorted(shapes, key=lambda shape: torch.Size(shape).numel())
    chosen = by_size[:: max(1, len(shapes) // COMPARED)][:COMPARED]
    torch.manual_seed(0)
    drawn = [torch.randn(shape) * 0.02 for shape in chosen]
    return drawn, [[torch.randn(shape) * 1e-3 for shape in chosen] for _ in range(3)]


def after(name: str, device: str, drawn: list, steps: list) -> list[torch.Tensor]:
    """Weights in fp32 on the CPU after these gradients."""
    parameters = [torch.nn.Parameter(value.clone().to(device)) for value in drawn]
    optimizer = built(optimizer_facts.of_flag(name), parameters)
    for gradients in steps:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.to(device)
        optimizer.step()
    return [parameter.detach().cpu() for parameter in parameters]
