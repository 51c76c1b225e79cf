"""Optimizers and the rates that they are given are upstream's; what does not exist is one line."""

import importlib

import pytest
from transformers.optimization import Adafactor

from extensions.base.errors import UserError
from extensions.reference import optimizers
from tests.helpers.optimizer_flags import both, flags, groups


@pytest.fixture(scope="module")
def train_util(patched):
    from library import train_util

    return train_util


def settings(optimizer) -> list[dict]:
    """Every group without its tensors."""
    return [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]


@pytest.mark.upstream
@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, None) for name in optimizers.NAMES),
        ("AdamW8bit", ["weight_decay=0.05", "betas=.9,.95"]),
        ("AdaFactor", ["relative_step=False", "scale_parameter=False", "warmup_init=False"]),
        ("AdaFactor", ["relative_step=False", "warmup_init=True"]),
        ("RAdam", ["eps=1e-6"]),
        ("torch.optim.Adamax", None),
    ],
)
def test_an_optimizer_is_upstreams(name, words, train_util):
    package = optimizers.NAMES.get(name.lower(), "torch").split(".")[0]
    pytest.importorskip(package)
    ours, expected, _ = both(train_util, flags(optimizer_type=name, optimizer_args=words))
    assert type(ours) is type(expected)
    assert settings(ours) == settings(expected)
    assert ours.defaults == expected.defaults


def test_upper_and_lower_case_are_one():
    for name in filter(None, optimizers.NAMES):
        pytest.importorskip(optimizers.NAMES[name].split(".")[0])
        assert optimizers.class_of(name.upper()) is optimizers.class_of(name)


def test_relative_steps_choose_their_own_rate():
    given = groups()
    made = optimizers.optimizer(flags(optimizer_type="AdaFactor"), given)
    assert [group["lr"] for group in made.param_groups] == [None, None]
    assert [group["lr"] for group in given] == [1e-3, 1e-4], "the caller's groups are left alone"
    own = optimizers.optimizer(flags(optimizer_type="AdaFactor", optimizer_args=["relative_step=False"]), groups())
    assert isinstance(own, Adafactor) and [group["lr"] for group in own.param_groups] == [1e-3, 1e-4]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"optimizer_type": "NoSuch"}, "--optimizer_type=NoSuch.*adamw8bit"),
        ({"optimizer_type": "no_such_package.Thing"}, "no_such_package"),
        ({"optimizer_args": ["no_such=1"]}, "--optimizer_type=AdamW no_such=1"),
        ({"optimizer_args": ["betas=2.0,0.9"]}, "betas=2.0,0.9"),
        ({"optimizer_args": ["weight_decay"]}, "--optimizer_args"),
    ],
)
def test_what_does_not_exist_is_one_line(given, message):
    with pytest.raises(UserError, match=message) as caught:
        optimizers.optimizer(flags(**given), groups())
    assert "\n" not in str(caught.value)


def test_a_package_that_is_missing_is_one_line(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name.partition('.')[0]!r}")  # as Python names it

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(UserError, match="--optimizer_type=Lion: No module named 'lion_pytorch'"):
        optimizers.class_of("Lion")
