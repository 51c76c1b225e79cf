"""What is kept of a file that grows: only what was added is read, and never another file's."""

import json

import pytest

from extensions.report import kept
from extensions.report.metrics import Metrics
from tests.helpers.run_folders import lines


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "run" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line) + "\n" for line in lines(1, 60, every=20)))
    return path


@pytest.fixture
def read(monkeypatch):
    """Bytes of each reading."""
    found, inner = [], Metrics.read_on

    def read_on(self, *words):
        found.append(inner(self, *words))
        return found[-1]

    monkeypatch.setattr(Metrics, "read_on", read_on)
    return found


def same(one: Metrics, other: Metrics) -> bool:
    assert one.curves.keys() == other.curves.keys() and one.labels == other.labels
    return all(
        (one.curves[n].low == other.curves[n].low).all() and one.curves[n].last == other.curves[n].last
        for n in one.curves
    )


def test_a_second_reading_reads_only_what_was_added(path, tmp_path, read):
    kept.read(path, {}, tmp_path / "kept")
    more = "".join(json.dumps(line) + "\n" for line in lines(61, 70))
    with open(path, "a") as file:
        file.write(more)
    again = kept.read(path, {}, tmp_path / "kept")
    kept.read(path, {}, tmp_path / "kept")
    assert read[1:] == [len(more), 0] and again.curves["loss"].last[0] == 70
    assert same(again, kept.read(path, {}, None))


def test_other_cuts_read_it_all(path, tmp_path, read):
    kept.read(path, {}, tmp_path / "kept")
    cut = kept.read(path, {"": 30}, tmp_path / "kept")
    assert read == [path.stat().st_size] * 2 and cut.curves["loss"].last[0] == 29


def test_a_file_written_anew_is_read_anew(path, tmp_path, read):
    kept.read(path, {}, tmp_path / "kept")
    longer = "".join(json.dumps(line) + "\n" for line in lines(1, 90, seed=5))
    path.write_text(longer)  # the same inode
    assert same(kept.read(path, {}, tmp_path / "kept"), kept.read(path, {}, None))
    path.write_text(longer[: longer.index("\n") + 1])
    assert kept.read(path, {}, tmp_path / "kept").lines == 1


@pytest.mark.parametrize("damage", [b"", b"no zip", None])
def test_a_damaged_keeping_costs_nothing_but_time(path, tmp_path, damage):
    kept.read(path, {}, tmp_path / "kept")
    (place,) = (tmp_path / "kept").iterdir()
    place.write_bytes(place.read_bytes()[:-40] if damage is None else damage)
    assert same(kept.read(path, {}, tmp_path / "kept"), kept.read(path, {}, None))


def test_a_file_that_cannot_be_read_says_why(path, monkeypatch):
    def broken(*_):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Metrics, "read_on", broken)
    assert kept.read(path, {}, None).failed == "Input/output error"


def test_a_folder_that_cannot_be_written_does_neither(path, tmp_path):
    (tmp_path / "kept").write_text("a file")
    assert kept.read(path, {}, tmp_path / "kept").lines and kept.read(tmp_path / "none", {}, None).lines == 0
