"""What a step takes for a moment, against what torch's profiler counts while the real optimizers step."""

import re

import bitsandbytes
import pytest
import torch
from torch.profiler import ProfilerActivity, profile, record_function

from extensions.base.paths import ROOT
from extensions.flags.literals import literals
from extensions.flags.words import Flags
from extensions.optimizers.facts import OPTIMIZERS
from extensions.optimizers.updates import Updates
from extensions.plan import optimizer_memory, updating, vram
from extensions.reference import optimizers

# One tensor that is stepped alone, as the large token embedding is, and a slice of several.
SETS = {"one": [(512, 256)], "several": [(256, 256), (256, 256), (64, 128, 3, 3), (256, 256)]}
UNIQUE = [facts for facts in OPTIMIZERS if facts.name != "AdaFactor, relative step"]
WAYS = {"fp32": (4, ""), "bf16": (2, ""), "stochastic": (2, "stochastic"), "kahan": (2, "kahan")}


def counted(facts, shapes, width, rounding):
    """Peak of what one step allocates, in bytes; state exists already, as it does from the second step on."""
    dtype = {2: torch.bfloat16, 4: torch.float32}[width]
    parameters = [torch.nn.Parameter((torch.randn(shape) * 0.02).to(dtype)) for shape in shapes]
    name, *words = facts.flag.split()
    foreach = {"foreach": True} if name == "AdamW" else {}  # the default on a GPU
    made = optimizers.class_of(name)(parameters, lr=1e-6, **literals("optimizer_args", words), **foreach)
    if rounding:
        Updates(made, rounding == "kahan", 0, lambda: 0)
    for parameter in parameters:
        parameter.grad = torch.randn(parameter.shape).to(dtype)
    made.step()
    # The profiler was once seen to miss everything.
    return max(peak(made.step) for _ in range(3))


def peak(step):
    """The most bytes at one time of what a second call allocates beside what was there before it.

    Of tensors that are older than the profile the profiler sees no end: the first call makes them anew.
    """
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        step()
        with record_function("counted"):
            step()
    events = seen.profiler.kineto_results.events()
    begin = next(one.start_ns() for one in events if one.name() == "counted")
    now = before = most = 0
    for event in sorted((one for one in events if one.name() == "[memory]"), key=lambda one: one.start_ns()):
        now += event.nbytes()
        if event.start_ns() < begin:
            before = most = now
        most = max(most, now)
    return most - before


@pytest.fixture
def kernels_in_place(monkeypatch):
    """bitsandbytes's step takes no memory on a GPU; on a CPU it is made of torch's operators, which do."""
    for cls in (bitsandbytes.optim.AdamW8bit, bitsandbytes.optim.Lion8bit):
        monkeypatch.setattr(cls, "step", lambda self, closure=None: None)


@pytest.mark.usefixtures("kernels_in_place")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("facts", UNIQUE, ids=lambda facts: facts.name)
def test_a_step_takes_what_is_planned(facts, way):
    width, rounding = WAYS[way]
    for name, shapes in SETS.items():
        if rounding:
            planned = optimizer_memory.stand_in_bytes(facts.flag.split()[0], [shapes], rounding)
        else:
            planned = optimizer_memory.step_bytes(facts.flag.split()[0], shapes, width)
        # What is counted of quantised state has tables of a few bytes, AdaFactor's plan another tensor's update.
        found = counted(facts, shapes, width, rounding)
        assert 0.99 * found <= planned <= 1.5 * found, name


PAGE = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
FULL = "--learning_rate=1e-6 --full_bf16 --mixed_precision=bf16"
GB = r"(\d(?:\.\d)?), (\d(?:\.\d)?)"
ROWS = re.findall(rf"^\| ([A-Za-z48, -]+?) \| {GB} \| {GB} \| {GB} \|$", PAGE, re.MULTILINE)


def test_the_page_has_every_optimizer():
    names = {name for row in ROWS for name in row[0].split(", ")}
    assert names == {facts.name.split(",")[0] for facts in OPTIMIZERS}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_page_says_what_is_planned(row):
    names, *figures = row
    for facts in OPTIMIZERS:
        if facts.name.split(",")[0] not in names.split(", "):
            continue
        planned = []
        for how in ("nearest", "stochastic", "kahan"):
            for encoders in ("", " --train_text_encoder"):
                words = f"{FULL} --optimizer_type={facts.flag.split()[0]} --bf16_updates={how}{encoders}"
                found = vram.parts(vram.setup(Flags.of_text(words), 1))
                planned.append((found.get(updating.STEP, 0) + found.get(updating.STAND_INS, 0)) / vram.GB)
        assert [float(figure) for figure in figures] == pytest.approx(planned, abs=0.06), facts.name
