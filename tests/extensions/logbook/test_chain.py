"""The chain of a session: its order, what it launches, and what it says of two states."""

from dataclasses import replace
from pathlib import Path

import pytest

from extensions.base.errors import UserError
from extensions.logbook import chain, registry
from extensions.resume.description import Description, State

SEGMENTS = [
    "25030802", "25031101", "25031401", "25031402", "25031601",
    "25031701", "25032201", "25032901", "25033101", "25040601", "25040602", "25040901", "25041301",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs():
    return registry.read_all()


def test_the_thirteen_segments_follow_each_other_without_a_gap(runs):
    found = chain.chain(runs, "2503c")
    assert [run.run for run in found] == SEGMENTS
    ends = [run.stop_step or run.steps for run in found]
    assert [run.start_step for run in found] == [0, *ends[:-1]] and ends[-1] == 777_917


def test_a_session_without_segments(runs):
    with pytest.raises(UserError, match="SESSION=2502a has no run that continues another; there is: 2503c"):
        chain.chain(runs, "2502a")


def test_each_segment_is_launched_once_with_the_whole_schedule(runs, tmp_path, monkeypatch):
    launched = []

    class Done:
        returncode = 0

    def run(command, env, check):
        launched.append((command[0].stem, env["RESUME"], env["ARGS"], env["TINY_STEPS"]))
        return Done

    monkeypatch.setenv("PROFILE", "tiny")
    monkeypatch.setattr(chain.subprocess, "run", run)
    for one in chain.chain(runs, "2503c"):
        chain.segment(one, tmp_path, 777_917)
    assert [(name, mode) for name, mode, *_ in launched] == [
        (name, "parent" if name != SEGMENTS[0] else "auto") for name in SEGMENTS
    ]
    assert {words for _, _, words, _ in launched} == {"--max_train_steps=78"} and launched[0][3] == "78"
    done = tmp_path / "segments" / "model_out_25031101" / "states" / "step00000004"
    done.mkdir(parents=True)
    chain.segment(runs["25031101"], tmp_path, 777_917)
    assert len(launched) == len(SEGMENTS)  # what is done is not done again


def test_a_segment_that_fails_ends_the_chain(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(chain.subprocess, "run", lambda *_, **__: type("Done", (), {"returncode": 76}))
    with pytest.raises(UserError, match="segment 25030802 ended with exit code 76"):
        chain.segment(runs["25030802"], tmp_path, 777_917)


def test_what_was_trained_at_full_size_is_never_removed(tmp_path, monkeypatch):
    weeks = tmp_path / "segments" / "model_out_25030802" / "states" / "step00036000" / "state.json"
    weeks.parent.mkdir(parents=True)
    weeks.write_text("{}")
    monkeypatch.setenv("FORCE", "1")
    monkeypatch.setattr(chain, "segment", lambda *_: pytest.fail("went on"))
    with pytest.raises(UserError, match="FORCE=1 would remove .*drop FORCE=1") as error:
        chain.main(["2503c", str(tmp_path)])
    assert "\n" not in str(error.value) and weeks.is_file()
    monkeypatch.setenv("PROFILE", "tiny")
    monkeypatch.setattr(chain, "segment", lambda *_: (_ for _ in ()).throw(UserError("trained")))
    with pytest.raises(UserError, match="trained"):
        chain.main(["2503c", str(tmp_path)])
    assert not tmp_path.exists()


@pytest.mark.parametrize(
    ("change", "code"), [({}, 0), ({"files": {"a": {"bytes": 2}}}, 1), ({"files": {}}, 1), ({"samples": 9}, 1)]
)
def test_one_bit_or_one_sample_is_a_difference(change, code, capsys):
    facts = Description(78, micro_steps=312, samples=312, files={"a": {"bytes": 1}})
    one, other = State(Path("one"), facts), State(Path("other"), replace(facts, **change))
    assert chain.compared(one, other) == code
    assert ("DIFFERENT" in capsys.readouterr().out) == bool(code)
