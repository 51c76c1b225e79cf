"""A tracker's package is there, or one line says what to install."""

import pytest

from extensions.base.errors import UserError
from extensions.flags import trackers


@pytest.fixture
def only_tensorboard(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: object() if name == "tensorboard" else None)


@pytest.mark.parametrize("log_with", ["wandb", "all"])
def test_a_missing_package_is_refused(only_tensorboard, log_with):
    with pytest.raises(UserError, match=f"^--log_with={log_with}: the package wandb is not installed; .venv/bin/pip"):
        trackers.check(log_with)


@pytest.mark.parametrize("log_with", ["tensorboard", None, "x"])
def test_what_is_there_or_is_not_known_here_passes(only_tensorboard, log_with):
    trackers.check(log_with)


def test_both_are_there(monkeypatch):
    monkeypatch.setattr(trackers, "find_spec", lambda name: object())
    trackers.check("all")
