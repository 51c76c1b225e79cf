"""What was planned, from recorded flags: the plan's own figures, and a reason where there is none."""

import pytest

from extensions.base.manifest import Manifest
from extensions.logbook import registry, steps
from extensions.plan import plan, tables, vram
from extensions.report import planned, records
from tests.helpers.run_folders import FLAGS, folder_of, lines


@pytest.fixture(scope="module")
def runs():
    return registry.read_all()


def recorded(run, **more) -> Manifest:
    """The record that a launch of a launcher would leave."""
    known = {"run": run.run, "script": run.script, "flags": run.flags, "processes": run.gpus, "profile": "full"}
    return Manifest(**known | {"images": steps.IMAGES[run.data]} | more)


def test_a_recorded_run_has_the_figures_of_make_plan(runs):
    run = runs["25022601"]
    found = planned.expected(recorded(run), runs)
    asked = plan.read("25022601", {})
    own, whole = plan.counts_of(asked)
    assert (found.end, found.whole, found.samples) == (run.steps, whole.optimizer_steps, own.samples)
    assert found.memory == vram.need(*tables.memory_of(asked)) and found.speeds and not found.why_not


def test_a_tiny_run_has_its_steps_alone(runs):
    found = planned.expected(recorded(runs["25022601"], profile="tiny"), runs)
    assert found.memory is None and not found.speeds and found.why_not and found.end


@pytest.mark.parametrize(
    "flags", [{"learning_rate": "fast"}, {"unknown": ["a", 1]}, {"resolution": None}, {"a": {"b": 1}}]
)
def test_flags_of_other_versions_are_no_error(flags):
    found = planned.expected(Manifest(run="r", flags=flags), {})
    assert found.why_not or found.end is not None


@pytest.mark.parametrize(
    "record", [Manifest(), Manifest(run="a/b"), Manifest(processes="x"), Manifest(run="r", images=-5)]
)
def test_records_that_are_none_are_no_error(record):
    planned.expected(record, {})


def test_planned_stands_beside_measured(tmp_path):
    folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 100))
    (record,) = records.find("r", tmp_path)
    history = records.history(record, None)
    rows = {row[0]: row[1:] for row in planned.rows(planned.expected(record.manifest, {}), history, record.manifest)}
    assert rows["optimizer steps"] == ["400", "100"]
    assert rows["samples (images over all processes)"] == ["1,600", "400"]
    assert rows["peak memory, GB of a GPU"][1] == f"{1_761_275_904 / 2**30:.2f}"


def test_secrets_are_not_shown():
    shown = planned.flags_of(
        Manifest(flags=FLAGS | {"wandb_api_key": "abcdefgh", "x": "hf_" + "a" * 34, "list": ["a", "b"]})
    )
    assert shown["wandb_api_key"] == shown["x"] == "(a secret)"
    assert shown["list"] == "a b" and shown["full_bf16"] == "on"
