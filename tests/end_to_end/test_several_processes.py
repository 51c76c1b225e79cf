"""Two processes over gloo against one on the same global batch, in float32: DDP's update is the mean's."""

from pathlib import Path

import pytest
from safetensors.torch import load_file

from extensions.launch import command
from tests.proofs import parity

RUN = "25022601"
DRIVER = Path(__file__).parents[1] / "helpers" / "drawing_driver.py"
ONE = (("optimizer_type", "AdamW"), ("gradient_accumulation_steps", "8"))
TWO = (("optimizer_type", "AdamW"), ("gradient_accumulation_steps", "4"))


@pytest.fixture
def drawn_by_sample(monkeypatch):
    """sd-scripts with draws that do not depend on the number of processes; the reference trainer's never do."""
    build = command.build

    def with_driver(request, tree):
        words = build(request, tree)
        if tree:
            place = words.index("extensions.upstream")
            words[place - 1 : place + 1] = [str(DRIVER)]
        return words

    monkeypatch.setattr(command, "build", with_driver)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "order"),
    [
        pytest.param("sd-scripts", "as_drawn", marks=pytest.mark.upstream),
        pytest.param("sd-scripts", "dealt", marks=pytest.mark.upstream),
        ("reference", "as_drawn"),  # it draws noise by the place in the update, which a dealt sample changes
    ],
)
def test_the_update_is_that_of_one_process_on_the_same_global_batch(
    trainer, order, drawn_by_sample, request, standins, tmp_path, monkeypatch
):
    """Accumulation 4 with two processes, 8 with one: three optimizer steps of eight samples each."""
    monkeypatch.setattr(parity, "MICRO_STEPS", 8)
    patched = request.getfixturevalue("patched") if trainer == "sd-scripts" else None
    more = (*TWO, ("data_order", order))
    cases = (parity.Case("one", RUN, (), ONE), parity.Case("two", RUN, (), more, processes=2))
    one, two = (parity.train(case, tmp_path / case.what, patched) for case in cases)
    assert len(one.losses) == len(two.losses) == 24
    assert sorted(two.losses) == pytest.approx(sorted(one.losses), rel=parity.LOSSES)
    base = load_file(standins["sdxl"])
    names = [name for name in base if name in one.weights]
    difference = {name: (two.weights[name] - one.weights[name]).double() for name in names}
    moved = {name: one.weights[name].double() - base[name].double() for name in names}
    assert parity.norm(moved) > 0 and parity.norm(difference) <= parity.MOVEMENT * parity.norm(moved)
