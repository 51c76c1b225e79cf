"""Who says a line, and whose end counts: processes that race for it."""

from concurrent.futures import ProcessPoolExecutor

import pytest

from extensions import ends

RACERS = 8


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(ends.FOLDER, str(tmp_path))
    return tmp_path


def ends_with(number: int) -> tuple[bool, bool]:
    ends.note(number)
    return ends.mine("the same line"), ends.mine(f"line {number}")


def test_of_many_processes_one_says_the_line_and_one_end_is_the_first(folder):
    with ProcessPoolExecutor(RACERS) as pool:
        same, own = zip(*pool.map(ends_with, range(RACERS)), strict=True)
    assert sum(same) == 1 and sum(own) == RACERS
    first = ends.first()
    assert first in range(RACERS)
    ends.note(99)
    assert ends.first() == first


def test_a_process_alone_says_everything(monkeypatch):
    monkeypatch.delenv(ends.FOLDER, raising=False)
    ends.note(2)
    assert ends.mine("a") and ends.mine("a") and ends.first() is None


def test_before_any_end_there_is_no_first(folder):
    assert ends.first() is None


def test_a_folder_that_is_gone_silences_nobody(folder):
    folder.rmdir()
    ends.note(2)
    assert ends.mine("a") and ends.mine("a") and ends.first() is None


def test_a_line_may_be_anything(folder):
    assert ends.mine("\ud800/ü\n" * 9999) and not ends.mine("\ud800/ü\n" * 9999)
