"""Whole runs with --recompute: the same losses and weights, to the bit, whatever is recomputed."""

import pytest
import torch

from extensions.launch import processor
from tests.proofs import parity

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
RUN = "25022601"
BUDGET = "0.01"  # GB: a third to a half of what the stand-in can keep at its largest bucket
PLUGINS = ("unet_percent", "dual_tag", "token_chunks", "recompute")
PRECISE = (("full_bf16",), ("mixed_precision", "bf16"))
ZERO = (("deepspeed",), ("zero_stage", "2"))
pytestmark = pytest.mark.slow


def trained(request, trainer: str, folder, said: str, processes: int, *more) -> parity.Trained:
    """Some updates of the run with a value of --recompute."""
    patched = request.getfixturevalue("patched") if trainer == "sd-scripts" else None
    given = (("recompute", said), *more)
    case = parity.Case(f"recompute={said}", RUN, ("gradient_checkpointing",), given, processes)
    return parity.train(case, folder / said, patched)


def plugins(bf16: bool = False) -> tuple[str, str]:
    more = ("cpu_bf16",) if bf16 and not processor.has_bf16() else ()
    return "extensions", ",".join((*PLUGINS, *more))


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(parity, "MICRO_STEPS", 4)  # two updates: one of four micro-steps, a shorter one


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    ("processes", "more", "values"),
    [
        pytest.param(1, (plugins(),), ("none", "all", BUDGET, "auto"), id="fp32"),
        pytest.param(2, (plugins(bf16=True), *PRECISE), ("none", "all", BUDGET), id="DDP in bf16"),
        pytest.param(2, (plugins(), *ZERO, ("optimizer_type", "AdamW")), ("none", "all"), id="ZeRO-2"),
    ],
)
def test_no_bit_depends_on_what_is_recomputed(trainer, processes, more, values, request, standins, tmp_path):
    first, *others = (trained(request, trainer, tmp_path, said, processes, *more) for said in values)
    assert len(first.losses) >= 4 * processes
    for other in others:
        assert sorted(other.losses) == sorted(first.losses)
        assert other.weights.keys() == first.weights.keys()
        assert all(torch.equal(tensor, other.weights[name]) for name, tensor in first.weights.items())
