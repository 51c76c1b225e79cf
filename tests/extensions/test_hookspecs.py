"""The drawing of the loop at the head of hookspecs.py: every hook stands in it, where a run calls it."""

import re

import pytest

from extensions import hookspecs
from tests.helpers.launching import launch

# Called by plugins that measure, or for those that weigh, of which this run lists none; or where it goes on exactly.
SELDOM = {"averages", "figures_measured", "state_restored", "weigh_loss"}
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]


def hooks() -> set[str]:
    """Every function of the page that is a hook."""
    marked = f"{hookspecs.NAMESPACE}_spec"
    return {name for name, value in vars(hookspecs).items() if hasattr(value, marked)}


def drawn() -> list[str]:
    """The hooks in the order in which the drawing first has each."""
    drawing = hookspecs.__doc__.split("\n\n")[1]
    return list(dict.fromkeys(word for word in re.findall(r"\w+", drawing) if word in hooks()))


def test_every_hook_is_drawn():
    assert sorted(drawn()) == sorted(hooks())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_run_calls_them_in_the_order_of_the_drawing(trainer, tmp_path, standins):
    run = launch(
        "25022601", tmp_path, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer, EXTENSIONS_TRACE=1,
        ARGS="--save_every_n_steps=1 --gradient_accumulation_steps=1 --max_data_loader_n_workers=0",
    )  # fmt: skip
    assert run.code == 0, run.said[-3000:]
    called = list(dict.fromkeys(re.findall(r"\[hook\] (\w+)\(", run.said)))
    assert called == [hook for hook in drawn() if hook not in SELDOM]
