"""The parity table fails when it should: each bound, other hooks, other tensors."""

import pytest
import torch

from extensions.base.errors import UserError
from tests.proofs import parity

CASE = parity.CASES[1]
HOOKS = ["models_loaded", *["micro_step_ended"] * parity.MICRO_STEPS]


def trained(shift=0.0, loss=0.5, hooks=HOOKS, name="a"):
    return parity.Trained(hooks, [loss] * parity.MICRO_STEPS, {name: torch.full((4,), 1e-3 + shift)})


@pytest.fixture
def compare(monkeypatch, tmp_path):
    """`parity.compare` over made-up outcomes; the base model is zero, so that the movement is 1e-3 each."""
    monkeypatch.setattr(parity, "prepared", lambda *_: type("Request", (), {"path": lambda *_: "base"})())
    monkeypatch.setattr(parity, "load_file", lambda _: {"a": torch.zeros(4)})

    def run(theirs, ours):
        monkeypatch.setattr(parity, "both", lambda *_: (theirs, ours))
        return parity.compare(CASE, tmp_path, tmp_path)

    return run


def test_equal_trainers_hold(compare):
    outcome = compare(trained(), trained(shift=1e-6))
    assert outcome.holds and outcome.micro_steps == parity.MICRO_STEPS
    assert outcome.weight == pytest.approx(1e-6, rel=1e-2) and outcome.movement == pytest.approx(1e-3, rel=1e-2)


@pytest.mark.parametrize("other", [{"loss": 0.5 * 1.001}, {"shift": 2e-5}, {"shift": -1e-3}])
def test_each_bound_fails(compare, other):
    assert not compare(trained(), trained(**other)).holds


def test_a_difference_that_the_absolute_bound_misses_fails_against_the_movement():
    assert not parity.Outcome(micro_steps=24, loss=0.0, weight=9e-6, movement=0.9).holds


def test_a_loss_of_nothing_is_equal_to_nothing_alone():
    assert (parity.relative(0.0, 0.0), parity.relative(0.1, 0.0)) == (0, float("inf"))
    assert parity.relative(0.5, 0.4) == pytest.approx(0.25)


def test_other_hooks_are_named(compare):
    with pytest.raises(UserError, match="hook call 1 is micro_step_ended in sd-scripts, run_ended in"):
        compare(trained(), trained(hooks=["models_loaded", "run_ended"]))


def test_too_few_micro_steps_are_no_comparison(compare):
    few = parity.Trained(["micro_step_ended"], [0.5], {"a": torch.zeros(4)})
    with pytest.raises(UserError, match="only 1 micro-steps"):
        compare(few, few)


def test_other_tensors_are_named(compare):
    with pytest.raises(UserError, match="other tensors"):
        compare(trained(), trained(name="b"))


def test_a_row_that_fails_fails_the_command(monkeypatch, capsys):
    outcomes = iter([parity.Outcome(24, 1e-7, 1e-7, 1e-4), parity.Outcome(24, 1e-2, 1e-7, 1e-4)])
    monkeypatch.setattr(parity, "compare", lambda *_: next(outcomes))
    monkeypatch.setattr(parity.tree, "ensure", lambda: None)
    monkeypatch.setattr(parity, "CASES", parity.CASES[:2])
    assert parity.main([]) == 1
    assert "FAILS" in capsys.readouterr().out


@pytest.mark.parametrize("case", parity.CASES, ids=lambda case: case.run)
def test_a_case_is_the_runs_own_flags_in_float32(case, standins, tmp_path):
    flags = parity.prepared(case, tmp_path).flags
    assert (
        flags.get("mixed_precision") == "no" and "full_bf16" not in flags and flags.get("save_precision") == "float"
    )
    accumulation = flags.number("gradient_accumulation_steps", 1)
    assert flags.number("max_train_steps") * accumulation >= parity.MICRO_STEPS
    assert flags.get("learning_rate") and flags.get("optimizer_type")
