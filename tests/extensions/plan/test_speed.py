"""Logs explained as schedules, and the speeds that carry over."""

from dataclasses import replace

import pytest

from extensions.logbook import registry
from extensions.plan import recorded, speed
from extensions.plan.recorded import Log


@pytest.fixture(scope="module")
def runs():
    return registry.read_all()


RECORDED = recorded.read()
COMPLETE = {
    "24120801": (62_240, ("the 6k dataset",)),
    "24121401": (62_240, ()),
    "24121901": (15_560, ("4 GPU(s)",)),
    "25012801": (15_560, ()),
    "25022102": (15_560, ()),
    "25022103": (15_560, ()),
    "25022301": (3_890, ()),
    "25022401": (3_890, ()),
    "25022501": (3_890, ()),
    "25022502": (3_890, ()),
    "25022601": (3_890, ()),
    "25030301": (3_890, ()),
}


@pytest.mark.parametrize("name", COMPLETE)
def test_every_complete_log_is_a_whole_schedule(name, runs):
    steps, differs = COMPLETE[name]
    (log,) = RECORDED.logs[name]
    found = speed.explain(runs[name], log)
    assert (log.steps, found.optimizer_steps, found.differs) == (steps, steps, differs)


def test_restarted_runs_are_taken_log_by_log(runs):
    first, second = RECORDED.logs["24122001"]
    assert speed.explain(runs["24122001"], first) is None
    assert speed.explain(runs["24122001"], second).differs == ("5 epoch(s)", "text encoders off")
    assert speed.explain(runs["24122101"], RECORDED.logs["24122101"][1]).epochs == 9


def test_a_log_that_differs_says_how_in_one_line(runs):
    line = speed.log_line(runs["24121901"], RECORDED.logs["24121901"][0])
    assert (
        "15,560 optimizer steps in 16.91 h = 6,224 images x 10 epoch(s) / (4 GPU(s) x 1 x 1), which is 4 GPU" in line
    )
    assert "; the launcher has 62,240 steps: 1 GPU(s), the 6k dataset" in line
    assert "as the launcher counts" in speed.log_line(runs["25022601"], RECORDED.logs["25022601"][0])
    stopped = speed.log_line(runs["25022101"], RECORDED.logs["25022101"][0])
    assert "14,539" in stopped and "of the launcher's 15,560" in stopped and "stopped early" in stopped


def test_the_configurations_own_log_and_the_table_are_both_named(runs):
    found = speed.figures(runs["25022601"], runs, RECORDED)
    assert [figure.img_s for figure in found] == sorted(figure.img_s for figure in found)
    sources = " | ".join(figure.source for figure in found)
    assert "log of 25022601: 3,890 steps in 9.02 h" in sources and "EPYC 7F52" in sources
    own = next(figure for figure in found if "25022601" in figure.source)
    assert own.img_s == pytest.approx(62_240 / (9.02 * 3600))


def test_only_the_same_configuration_carries_over(runs):
    run = runs["25022601"]
    for other in (replace(run, gpus=2), replace(run, ga=3), replace(run, unet_percent=80), replace(run, tte="off")):
        assert speed.figures(other, runs, RECORDED) == []
    assert speed.figures(replace(run, optimizer="Lion8bit"), runs, RECORDED)


def test_a_run_whose_log_was_on_other_gpus_shows_it_and_says_so(runs):
    (found,) = speed.figures(runs["24121901"], runs, RECORDED)
    assert found.source.endswith("on 4 GPU(s)") and found.img_s == pytest.approx(62_240 / (16.91 * 3600))


def test_data_of_unknown_size_explain_no_log(runs):
    run = replace(runs["25022601"], data="mine.json", epochs=3)
    assert speed.explain(run, Log("log", 777, 1.0, 3, "on")) is None
    assert "stopped early, or other data" in speed.log_line(replace(run, steps=None), Log("log", 777, 1.0, 3, "on"))


def test_hours_become_days():
    assert speed.duration(3600, 1.0) == "1.0 h"
    assert speed.duration(12_446_672, 3.259) == "1,061 h (44.2 days)"
