"""Killed (-9) at drawn moments and resumed, a run ends as the unbroken one; the proof fails when it should."""

import dataclasses
import os
import shutil
import subprocess
import sys

import psutil
import pytest

from extensions.base.errors import UserError
from extensions.resume.description import Description
from extensions.resume.states import State
from tests.proofs import killing, kills
from tests.proofs.killing import KINDS, Kill, KilledRun, Wrong

DEALT = "--gradient_accumulation_steps=2 --data_order=dealt"
LONG = [
    pytest.param(kills.Row("reference", 2, 3, steps=8, more=DEALT), marks=pytest.mark.slow),
    pytest.param(kills.Row("reference", 2, 5, steps=12), marks=pytest.mark.slow),
    pytest.param(kills.Row("reference", 2, 3, steps=12, more=kills.LEARNED, mixed=True), marks=pytest.mark.slow),
    pytest.param(kills.Row("sd-scripts", 1, 6, steps=12), marks=[pytest.mark.slow, pytest.mark.upstream]),
    pytest.param(kills.Row("sd-scripts", 2, 5, steps=12), marks=[pytest.mark.slow, pytest.mark.upstream]),
]


@pytest.mark.parametrize("row", [kills.Row("reference", 1, 1, steps=6), *LONG], ids=lambda row: row.name)
def test_killed_and_resumed_it_ends_as_the_unbroken_run(row, standins):
    survived, wrong = kills.prove(row, seed=3)
    assert not wrong and survived.total() == row.kills


def test_kills_are_drawn_from_the_seed_and_all_kinds_come():
    drawn = [killing.drawn(f"1/row/{number}", 2) for number in range(60)]
    assert drawn == [killing.drawn(f"1/row/{number}", 2) for number in range(60)]
    assert drawn != [killing.drawn(f"2/row/{number}", 2) for number in range(60)]
    assert {kill.kind for kill in drawn} == set(KINDS) and {kill.rank for kill in drawn} == {0, 1}
    assert killing.ALONE not in {killing.drawn(f"1/row/{number}", 1).kind for number in range(60)}


def test_a_trainers_process_is_the_first_of_its_rank():
    """A rank's data-loader workers have its variables, too."""
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    ranks = [
        subprocess.Popen([sys.executable, "-c", child], env=os.environ | {"RANK": str(rank)}, stdin=subprocess.PIPE)
        for rank in (1, 0)
    ]
    try:
        mine = psutil.Process()
        while len(family := mine.children(recursive=True)) < 4:
            pass
        found = killing.trainers_in([mine, *family])
        assert {rank: process.pid for rank, process in found.items()} == {1: ranks[0].pid, 0: ranks[1].pid}
    finally:
        for process in ranks:
            process.communicate(b"\n", timeout=60)


@pytest.fixture
def run(tmp_path):
    """A run whose process is over, with a state and nothing more."""
    run = KilledRun(tmp_path / "run", "reference", 1, 2)
    (run.states / "step00000002").mkdir(parents=True)
    run.said.write_text("trained\n")
    run.process = subprocess.Popen(["true"])
    return run


def test_a_damaged_state_or_a_half_file_is_wrong(run):
    run.finish()
    run.said.write_text("passed over: …/step00000002 is damaged\n")
    with pytest.raises(Wrong, match="a state was damaged"):
        run.finish()
    run.said.write_text("trained\n")
    run.process = subprocess.Popen(["false"])
    with pytest.raises(Wrong, match="it ended with 1"):
        run.finish()
    run.said.write_text("error: … is at optimizer step 2, the run ends at 2: it is complete; …\n")
    run.finish()
    (run.states / ".step00000003.part").mkdir()
    with pytest.raises(Wrong, match=r"left in .*: \.step00000003\.part"):
        run.finish()


def test_a_launcher_that_calls_a_kill_well_or_loses_a_state_is_wrong(run, monkeypatch):
    run.process = subprocess.Popen(["sleep", "600"])
    monkeypatch.setattr(KilledRun, "newest_name", lambda _, names=["", "b"]: names.pop())
    with pytest.raises(Wrong, match="b is gone"):
        run.take(Kill(killing.TRAINING, 0, 0))
    run.process = subprocess.Popen(["bash", "-c", "trap 'exit 0' TERM; sleep 600 & wait"], start_new_session=True)
    monkeypatch.setattr(psutil.Process, "kill", psutil.Process.terminate)
    monkeypatch.setattr(KilledRun, "newest_name", lambda _: "a")
    while not psutil.Process(run.process.pid).children():
        pass
    with pytest.raises(Wrong, match="all is well"):
        run.take(Kill(killing.TRAINING, 0, 0))


@pytest.mark.parametrize("files", [{"a": 1}, {"a": 2, "b": 1}, {"a": 1, "b": 1, "c": 1}])
def test_a_state_that_differs_is_wrong(tmp_path, files):
    whole = kills.Unbroken({"step00000002": {"a": 1, "b": 1}}, {})
    facts = Description(optimizer_steps=2)
    kills.require_equal(whole, State(tmp_path / "step00000002", dataclasses.replace(facts, files={"a": 1, "b": 1})))
    with pytest.raises(Wrong, match="differ from the unbroken run's"):
        kills.require_equal(whole, State(tmp_path / "step00000002", dataclasses.replace(facts, files=files)))


def test_what_is_wrong_is_kept_and_fails_the_verb(monkeypatch, capsys):
    def kill(row, seed, folder):
        yield "kill 1 of 2, while it trains, after no state: equal"
        raise Wrong("another end")

    monkeypatch.setattr(kills, "kill", kill)
    survived, wrong = kills.prove(kills.ROWS[0], 1, print)
    assert survived == {"while it trains": 1} and wrong.startswith("another end (kept: ")
    shutil.rmtree(wrong.partition("kept: ")[2].rstrip(")"))
    monkeypatch.setattr(kills, "prove", lambda *_: (survived, wrong))
    assert kills.main(trainer="reference", processes=1) == 1
    assert "1 of 80" in capsys.readouterr().out


def test_rows_are_chosen_by_trainer_and_processes():
    assert kills.chosen("", 0, 0) == list(kills.ROWS)
    plain, mixed = kills.chosen("reference", 2, 7)
    assert plain == kills.Row("reference", 2, 7) and mixed.mixed and mixed.kills == 7
    for trainer, processes in (("upstream", 0), ("", 3)):
        with pytest.raises(UserError):
            kills.chosen(trainer, processes, 0)
