"""Varies the micro-step in one process: what is recomputed, how many images; memory, speed, equal bits.

VARIANTS is the list: whatever else changes a micro-step is another line of it, and `switched` knows how.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.gpu import session
from benchmarks.gpu.session import Session
from benchmarks.gpu.setting import Setting, begin_peak, free, out_of_memory, peak, wait
from benchmarks.gpu.trainer import ACCUMULATION
from extensions.reference.recompute import recomputed

REENTRANT, NON_REENTRANT, NONE = "reentrant", "non-reentrant", "none"


@dataclass(frozen=True)
class Variant:
    """recompute: how activations are computed again in the backward pass. images: a micro-step."""

    recompute: str
    images: int = 1

    @property
    def name(self) -> str:
        return f"recompute {self.recompute}, batch {self.images}"


VARIANTS = (
    Variant(REENTRANT),
    Variant(NON_REENTRANT),
    Variant(NONE),
    Variant(REENTRANT, 2),
    Variant(NONE, 2),
    Variant(REENTRANT, 4),
    Variant(NONE, 4),
)


def variants(setting: Setting) -> None:
    """Time and measure each, hold the ways to recompute against none, count the work of one image."""
    held = session.current(setting)
    setting.put("model_tflop_an_image", flop(held) / 1e12)
    ways = {way: out_of_memory(setting, lambda w=way: bits(held, w)) for way in (NONE, NON_REENTRANT, REENTRANT)}
    for way in (NON_REENTRANT, REENTRANT):
        if "losses" in ways[way] and "losses" in ways[NONE]:
            setting.put(f"{way}, beside none", beside(ways[way], ways[NONE]))
    for variant in VARIANTS:
        took = time.time()
        setting.put(variant.name, out_of_memory(setting, lambda v=variant: measured(setting, held, v)))
        held.clear()
        free(setting)
        if setting.left() < 1.5 * (time.time() - took):
            setting.put("not reached", [each.name for each in VARIANTS[VARIANTS.index(variant) + 1 :]])
            break


def measured(setting: Setting, held: Session, variant: Variant) -> dict:
    """Images a second with the optimizer's share, memory, and how much of the time the processor spends launching."""
    batches = [held.batch(variant.images)] * setting.of_size(ACCUMULATION, 1)
    with switched(held, variant.recompute):
        held.step(batches)  # warm; the optimizer's state is there from now on
        begin_peak(setting)
        wait(setting)
        began = time.perf_counter()
        held.step(batches)
        wait(setting)
        found = {"images_per_second": len(batches) * variant.images / (time.perf_counter() - began)}
        found |= peak(setting)
        began = time.perf_counter()
        held.loss(batches[0])
        launched = time.perf_counter() - began
        wait(setting)
        found["launching_share"] = launched / (time.perf_counter() - began)
    return found


def flop(held: Session) -> float:
    """FLOP of one image's forward and backward pass with nothing recomputed and a text of one chunk."""
    with FlopCounterMode(display=False) as counter:
        held.loss(held.batch(1))
    held.clear()
    return float(counter.get_total_flops())


def bits(held: Session, way: str) -> dict:
    """Return loss and a sum over each gradient's bits of two micro-steps, from one seed."""
    with switched(held, way):
        torch.manual_seed(1)
        losses = [float(held.loss(held.batch(1, count))) for count in (1, 2)]
        # A sum of the bits as whole numbers: equal gradients have equal sums, and others hardly ever.
        sums = [p.grad.view(torch.int16).sum(dtype=torch.int64) for p in held.parameters if p.grad is not None]
        found = {"losses": losses, "gradients": torch.stack(sums).tolist()}
    held.clear()
    return found


def beside(one: dict, other: dict) -> dict:
    """Losses and gradients of one way beside another's."""
    pairs = zip(one["gradients"], other["gradients"], strict=True)
    apart = sum(a != b for a, b in pairs)
    return {"equal_losses": one["losses"] == other["losses"], "gradients_apart": apart, "of": len(one["gradients"])}


@contextmanager
def switched(held: Session, way: str) -> Iterator[None]:
    """Recompute in a way for a while: the blocks of the U-Net, the layers of the text encoders."""
    models, how = held.run.models, {"use_reentrant": way == REENTRANT, "preserve_rng_state": False}
    blocks = [m for m in models.unet.modules() if isinstance(m, ResnetBlock2D | BasicTransformerBlock)]
    if way != NONE:
        for block in blocks:
            block.forward = recomputed(block.forward, how)
        for encoder in models.text_encoders:
            encoder.gradient_checkpointing_enable(how)
    try:
        yield
    finally:
        for block in blocks if way != NONE else ():
            del block.forward  # the class's own is behind it
        for encoder in models.text_encoders:
            encoder.gradient_checkpointing_disable()
