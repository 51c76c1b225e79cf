"""The loss is weighed as its flags say, in both trainers' own functions; what would do nothing is refused."""

import argparse
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from extensions import loop, manager
from extensions.base.errors import UserError
from extensions.data import DATASET
from extensions.model.losses import Losses
from extensions.plugins.loss_weights import Plugin
from extensions.resume import parts
from extensions.resume.description import State
from tests.helpers.plugin_flags import parsed

TRAINERS = {
    "v_parameterization": False, "zero_terminal_snr": False, "min_snr_gamma": None, "debiased_estimation_loss": False,
    "dataset_class": DATASET,
}  # fmt: skip
ZERO = {"zero_terminal_snr": True}
PREDICTED, TARGET = torch.randn(2, 3, 4, 6, 5, generator=torch.Generator().manual_seed(1))
TIMESTEPS = torch.tensor([20, 700, 999])


def asked(*words: str, **more) -> argparse.Namespace:
    return parsed("loss_weights", *words, **TRAINERS | more)


@pytest.mark.parametrize(
    ("words", "more", "says"),
    [
        ((), {}, "loss_weights is listed without"),
        (("--loss_weight=min_snr",), {"min_snr_gamma": 5.0}, "--min_snr_gamma and --loss_weight=min_snr"),
        (("--loss_weight=min_snr",), {"debiased_estimation_loss": True}, "--debiased_estimation_loss and"),
        (("--loss_weight=debiased", "--loss_weight_gamma=3"), {}, "--loss_weight_gamma does nothing"),
        (("--loss_weight=debiased", "--loss_weight_snr=paper"), {}, "--loss_weight_snr does nothing"),
        (("--loss_huber=1", "--loss_weight_snr=paper"), ZERO, "--loss_weight_snr does nothing"),
        (("--loss_weight=debiased",), ZERO, "has no bound at SNR 0"),
        (("--loss_weight=velocity",), ZERO, "has no bound at SNR 0"),
        (("--loss_weight=min_snr", "--loss_weight_rate=1"), {}, "--loss_weight_rate does nothing"),
        (("--loss_weight=edm2", "--loss_weight_snr=paper"), ZERO, "--loss_weight_snr does nothing"),
        (("--loss_weight=edm2",), {"mixed_precision": "fp16"}, "--mixed_precision=fp16"),
        (("--loss_weight=edm2",), {"deepspeed": True}, "--deepspeed"),
        (("--loss_huber=0.1",), {"loss_type": "huber"}, "--loss_huber and --loss_type=huber"),
        (("--sample_weights=x.tsv",), {"dataset_class": "another"}, "--sample_weights goes by the ids"),
    ],
)
def test_what_would_do_nothing_is_refused(words, more, says):
    with pytest.raises(UserError, match=says):
        Plugin().check_arguments(asked(*words, **more))


@pytest.mark.parametrize("rule", ["min_snr", "debiased", "velocity"])
def test_rules_by_snr_are_refused_with_flow(rule):
    args = parsed("objective,loss_weights", "--objective=flow", f"--loss_weight={rule}", **TRAINERS)
    with pytest.raises(UserError, match="flow has none"):
        Plugin().check_arguments(args)


def of_scripts(timesteps):
    """The last line of sdxl_train.py's loss, where its own flags weigh nothing."""
    from library import train_util

    from extensions.upstream import noising, seams

    seams.install()
    noising._now.timesteps = timesteps
    return train_util.conditional_loss(PREDICTED, TARGET, "l2", "mean", None)


def of_reference(timesteps):
    from extensions.reference import noise

    return noise.loss_of(PREDICTED, TARGET, None, timesteps)


def squared_snr(zero: bool, of: float):
    a = np.sqrt(np.cumprod(1 - np.linspace(0.00085**0.5, 0.012**0.5, 1000) ** 2))
    if zero:
        a = (a - a[-1]) * a[0] / (a[0] - a[-1])
    return (a**2 / (1 - a**2))[TIMESTEPS.numpy()]


EACH = (PREDICTED - TARGET).double().square().mean([1, 2, 3]).numpy()
CASES = {  # flags, what more the trainer has, and the factor of each loss by the papers
    "min-SNR 5, epsilon": (("--loss_weight=min_snr",), {}, lambda snr: np.minimum(snr, 5) / snr),
    "min-SNR 2, v, zero terminal SNR": (
        ("--loss_weight=min_snr", "--loss_weight_gamma=2"), ZERO | {"v_parameterization": True},
        lambda snr: np.minimum(snr, 2) / (snr + 1),
    ),
    "velocity, epsilon": (("--loss_weight=velocity",), {}, lambda snr: (1 + snr**-0.5) ** 2),
    "debiased, v": (
        ("--loss_weight=debiased",), {"v_parameterization": True}, lambda snr: np.sqrt(snr) / (snr + 1)
    ),
}  # fmt: skip
BOTH = [
    pytest.param(of_scripts, marks=pytest.mark.upstream, id="sd-scripts"), pytest.param(of_reference, id="reference"),
]  # fmt: skip


@pytest.fixture
def weigh(monkeypatch, request):
    """Let a run's plugin weigh the trainer's loss."""

    def weighed(trainer, args, run=None):
        if trainer is of_scripts:
            request.getfixturevalue("patched")
        made = manager.Manager(["loss_weights"])
        made.hook.check_arguments(args=args)
        monkeypatch.setattr(manager, "_current", made)
        monkeypatch.setattr(loop, "_run", run or SimpleNamespace(args=args, position=None))
        return trainer(TIMESTEPS).item()

    return weighed


@pytest.mark.parametrize("trainer", BOTH)
@pytest.mark.parametrize("case", CASES)
def test_weights_by_snr_are_the_papers_in_both_trainers(case, trainer, weigh):
    words, more, factor = CASES[case]
    found = weigh(trainer, asked(*words, **more))
    wanted = (EACH * factor(squared_snr("zero_terminal_snr" in more, 0))).mean()
    assert found == pytest.approx(wanted, rel=1e-3)


@pytest.mark.parametrize("trainer", BOTH)
def test_upstreams_snr_is_that_of_the_schedule_before(trainer, weigh):
    words = ("--loss_weight=min_snr", "--loss_weight_snr=upstream")
    found = weigh(trainer, asked(*words, **ZERO | {"v_parameterization": True}))
    snr = squared_snr(False, 0)
    assert found == pytest.approx((EACH * np.minimum(snr, 5) / (snr + 1)).mean(), rel=1e-3)


@pytest.mark.parametrize("trainer", BOTH)
def test_huber_takes_the_place_of_the_square_and_samples_weigh(trainer, weigh, tmp_path):
    path = tmp_path / "weights.tsv"
    path.write_text("b\t0\nc\t2.5\n")
    args = asked("--loss_huber=0.3", f"--sample_weights={path}")
    run = SimpleNamespace(args=args, position=SimpleNamespace(keys=[["x"], ["a", "b", "c"]]))
    found = weigh(trainer, args, run)
    error = (PREDICTED - TARGET).double().numpy()
    each = (0.6 * (np.sqrt(error**2 + 0.09) - 0.3)).mean((1, 2, 3))
    assert found == pytest.approx((each * [1, 0, 2.5]).mean(), rel=1e-5)


@pytest.mark.parametrize(
    ("position", "rows", "says"), [(None, {"a": 1}, "resume_at_step"), (1, {}, "names no image")]
)
def test_weights_of_other_data_are_refused_at_the_start(tmp_path, position, rows, says):
    path = tmp_path / "weights.tsv"
    path.write_text("a\t2\n")
    args = asked(f"--sample_weights={path}")
    made = Plugin()
    made.check_arguments(args)
    data = SimpleNamespace(dataset=SimpleNamespace(metadata=SimpleNamespace(rows_of=lambda keys: rows)))
    with pytest.raises(UserError, match=says):
        made.training_begins(SimpleNamespace(args=args, position=position, dataloader=data))


ALONE = SimpleNamespace(device=torch.device("cpu"), is_main_process=True, reduce=lambda tensor, how: tensor)
OBJECTIVES = {
    "epsilon": ({}, TIMESTEPS), "v": (ZERO | {"v_parameterization": True}, TIMESTEPS),
    "flow": ({"objective": "flow"}, torch.tensor([2.5, 700.25, 999.9])),
}  # fmt: skip


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_learned_weights_go_by_the_level_of_noise(objective):
    """ln sigma, sigma = b / a: of a schedule, or s / (1 - s) of flow."""
    more, timesteps = OBJECTIVES[objective]
    plugins = "objective,loss_weights" if objective == "flow" else "loss_weights"
    words = [f"--objective={more['objective']}"] if objective == "flow" else []
    flags = TRAINERS | {name: value for name, value in more.items() if name != "objective"}
    made = Plugin()
    made.check_arguments(parsed(plugins, *words, "--loss_weight=edm2", **flags))
    found = made.log_sigma(timesteps).double().numpy()
    s = timesteps.double().numpy() / 1000
    with np.errstate(divide="ignore"):
        wanted = np.log(s / (1 - s)) if objective == "flow" else -np.log(squared_snr("v" in objective, 0)) / 2
    np.testing.assert_allclose(np.minimum(found, 9), np.minimum(wanted, 9), rtol=2e-3)


def test_learned_weights_step_once_an_update_and_are_in_the_state(tmp_path):
    args = asked("--loss_weight=edm2", seed=7, resume_allow="")
    run = SimpleNamespace(args=args, accelerator=ALONE, position=None)
    made = Plugin()
    made.check_arguments(args)
    made.training_begins(run)
    losses = Losses(torch.tensor([0.1, 2.0, 1.0]), PREDICTED, TARGET, TIMESTEPS)
    made.weigh_loss(run, losses)
    assert torch.equal(losses.values, torch.tensor([0.1, 2.0, 1.0])), "u is 0 at first"
    losses.values.mean().backward()
    made.optimizer_step_ended(run)
    assert made.learned.uncertainty.weight.abs().max() > 0
    ((name, value),) = made.state_parts(run)
    entry = parts.Part(name, value()).write(tmp_path)
    state = State(tmp_path, SimpleNamespace(files={name: entry}))
    other = Plugin()
    other.check_arguments(args)
    other.state_restored(run, state)
    other.training_begins(run)
    assert torch.equal(other.learned.uncertainty.weight, made.learned.uncertainty.weight)
    silent = SimpleNamespace(args=args, accelerator=SimpleNamespace(is_main_process=False))
    assert other.state_parts(silent) == []


def test_other_weights_than_the_states_are_refused(tmp_path):
    path = tmp_path / "weights.tsv"
    path.write_text("a\t2\n")
    args = asked(f"--sample_weights={path}", resume_allow="")
    run = SimpleNamespace(args=args, accelerator=ALONE)
    made = Plugin()
    made.check_arguments(args)
    ((name, value),) = made.state_parts(run)
    state = State(tmp_path, SimpleNamespace(files={name: parts.Part(name, value()).write(tmp_path)}))
    made.state_restored(run, state)
    path.write_text("a\t3\n")
    made.check_arguments(args)
    with pytest.raises(UserError, match="other --sample_weights"):
        made.state_restored(run, state)
    args.resume_allow = "data,flags"
    made.state_restored(run, state)
