"""A run under way: only what is new is read; it ends when the run does, or goes on with a next launch."""

import fcntl
import json

import pytest

from extensions.base import manifest
from extensions.launch import output_lock
from extensions.report import following, metrics, records
from extensions.report.following import Follower
from tests.helpers.run_folders import FLAGS, folder_of, lines, training_line


@pytest.fixture
def run(tmp_path):
    """A launch that has come to step 50 of 400 and goes on."""
    output = tmp_path / "out"
    output.mkdir()
    flags = FLAGS | {"output_dir": str(output)}
    return folder_of(
        tmp_path / "logs", "r", "20260101T000000Z", lines(1, 50), flags=flags, exit_code=None, ended=None
    )


@pytest.fixture
def follower(run):
    return Follower(lambda: records.find("r", run.parent.parent)[0], {})


def said(follower, tmp_path) -> dict:
    return dict(follower.lines(tmp_path / "pages"))


def append(run, text: str) -> None:
    with open(run / "metrics.jsonl", "a") as file:
        file.write(text)


def test_it_says_how_far_it_is(follower, tmp_path):
    found = said(follower, tmp_path)
    assert found["optimizer steps"] == "50 of 400 (12.5%)" and found["last state"] == "none seen from here"
    assert found["time left"] == f"{(1600 - 200) / 1.3 / 60:.0f} min" and found["images/s"].startswith("1.3")
    assert found["run"].startswith("r, last line ") and "make report" in found["page"]
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages" / "run-r.html").touch()
    assert said(follower, tmp_path)["page"] == (tmp_path / "pages" / "run-r.html").as_uri()


def test_only_what_is_new_is_read_and_half_a_line_waits(run, follower, tmp_path, monkeypatch):
    taken, read_on = [], metrics.Metrics.read_on
    monkeypatch.setattr(metrics.Metrics, "read_on", lambda *words: taken.append(read_on(*words)))
    line = json.dumps(training_line(51, 0.1)) + "\n"
    for text, step in (("", 50), (line[:20], 50), (line[20:], 51)):
        append(run, text)
        follower.refresh()
        assert follower.history.step == step
    assert taken == [0, 0, len(line)]


def test_it_ends_when_the_run_does(run, follower, monkeypatch):
    assert not follower.over()
    manifest.update(run, ended="now", exit_code=0)
    follower.refresh()
    assert follower.over() and follower.state() == "done" and follower.left() == ""


def test_after_a_roll_back_it_follows_the_next_launch(run, follower, monkeypatch):
    monkeypatch.setattr(following, "SETTLE", 0.2)
    manifest.update(run, ended="now", exit_code=76)
    follower.refresh()
    assert not follower.over(), "the next launch has a moment to appear"
    folder_of(run.parent.parent, "r", "20260102T000000Z", lines(31, 60), exit_code=None, ended=None, flags=FLAGS)
    assert not follower.over() and follower.history.step == 60
    assert follower.history.curves["loss"].count.sum() == 60, "the earlier launch up to where it was gone back to"


def test_a_run_that_was_killed_has_left_its_lock(run, follower, tmp_path, monkeypatch):
    monkeypatch.setattr(following, "SETTLE", 0)
    with open(tmp_path / "out" / output_lock.FILE, "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert not follower.over()
    follower.over()
    assert follower.over() and "was killed" in follower.state()


def test_a_record_that_is_damaged_meanwhile_is_what_it_was(run, follower):
    (run / "manifest.json").write_text("{")
    follower.refresh()
    assert follower.end() == 400


def test_sparklines():
    curve = metrics.Curve()
    curve.add(metrics.np.arange(8), metrics.np.arange(8.0))
    assert following.sparkline(curve, following.SIGNS[True]) == "▁▂▃▄▅▆▇█"
    assert set(following.sparkline(curve, following.SIGNS[False])) <= set(following.SIGNS[False])
    curve.add(metrics.np.arange(8, 5000), metrics.np.zeros(4992))
    assert len(following.sparkline(curve, "ab")) <= following.LENGTH
