"""The memory model against the readings of the logbook's machines, and the check that says so."""

from dataclasses import replace

import pytest

from extensions.plan import recorded, vram_fit
from extensions.plan.__main__ import main
from extensions.plan.vram import Fit

READINGS = recorded.read().readings


@pytest.fixture(scope="module")
def rows():
    return vram_fit.compare(vram_fit.known(READINGS))


def test_every_reading_is_within_ten_percent(rows):
    assert {row.recorded.name: row.error for row in rows if row.error is not None and abs(row.error) > 0.1} == {}


def test_every_reading_is_within_ten_percent_of_a_fit_without_it(rows):
    known = [row for row in rows if row.error is not None]
    assert max(abs(vram_fit.relative(row.without_it, row.recorded)) for row in known) <= 0.1


def test_what_ran_out_of_memory_needs_more_than_the_card(rows):
    assert all(row.needed > 24 for row in rows if row.recorded.gb is None)
    assert all(row.needed <= 24 for row in rows if row.recorded.gb is not None)


def test_the_constants_are_physical_and_far_fewer_than_the_readings():
    constants = vram_fit.fit(vram_fit.known(READINGS))
    assert 0.5 < constants.reserve < 2 and 0 <= constants.cached <= 1
    assert sum(row.gb is not None for row in READINGS) > 5 * vram_fit.CONSTANTS


def test_readings_made_by_the_model_give_their_constants_back():
    true = Fit(reserve=0.7, cached=0.6)
    made = [replace(row, recorded=replace(row.recorded, card=80)) for row in vram_fit.known(READINGS)]
    made = [replace(row, recorded=replace(row.recorded, gb=row.modelled(true))) for row in made]
    found = vram_fit.fit(made)
    assert (found.reserve, found.cached) == pytest.approx((0.7, 0.6))


def test_one_gpu_alone_cannot_be_fitted():
    with pytest.raises(ValueError, match="several GPUs"):
        vram_fit.fit(vram_fit.known([row for row in READINGS if row.gpus == 1]))


def test_plan_check_prints_every_row_and_the_constants(capsys):
    assert main(["--check"]) == 0
    out = capsys.readouterr().out
    assert all(row.name in out for row in READINGS)
    for text in ("2 constants", "reserve", "cached", "left out", "beyond 10%: none"):
        assert text in out


@pytest.mark.parametrize("wrong", [{"gb": 14.0}, {"gb": None}])
def test_plan_check_fails_for_a_row_that_is_beyond(wrong, capsys):
    """A reading far from the model, or an out-of-memory that the model does not see."""
    zero = next(row for row in READINGS if "ZeRO-2" in row.name and "63" in row.name)
    readings = [replace(row, **wrong) if row is zero else row for row in READINGS]
    assert vram_fit.check(readings) == 1
    assert f"beyond 10%: {zero.name}" in capsys.readouterr().out


def test_an_out_of_memory_is_no_matter_of_the_fit():
    every = vram_fit.known(READINGS)
    assert vram_fit.fit([row for row in every if row.recorded.gb is not None]) == vram_fit.fit(every)
