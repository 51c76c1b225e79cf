"""Who says a line, and whose end counts: processes that race for it."""

from concurrent.futures import ProcessPoolExecutor

import pytest

from extensions.base import shared_exit

RACERS = 8


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv(shared_exit.FOLDER, str(tmp_path))
    return tmp_path


def ends_with(number: int) -> tuple[bool, bool]:
    shared_exit.record_exit(number)
    return shared_exit.claim_line("the same line"), shared_exit.claim_line(f"line {number}")


def test_of_many_processes_one_says_the_line_and_one_end_is_the_first(folder):
    with ProcessPoolExecutor(RACERS) as pool:
        same, own = zip(*pool.map(ends_with, range(RACERS)), strict=True)
    assert sum(same) == 1 and sum(own) == RACERS
    first = shared_exit.first_exit()
    assert first in range(RACERS)
    shared_exit.record_exit(99)
    assert shared_exit.first_exit() == first


def test_a_process_alone_says_everything(monkeypatch):
    monkeypatch.delenv(shared_exit.FOLDER, raising=False)
    shared_exit.record_exit(2)
    assert shared_exit.claim_line("a") and shared_exit.claim_line("a") and shared_exit.first_exit() is None


def test_before_any_end_there_is_no_first(folder):
    assert shared_exit.first_exit() is None


def test_a_folder_that_is_gone_silences_nobody(folder):
    folder.rmdir()
    shared_exit.record_exit(2)
    assert shared_exit.claim_line("a") and shared_exit.claim_line("a") and shared_exit.first_exit() is None


def test_a_line_may_be_anything(folder):
    assert shared_exit.claim_line("\ud800/ü\n" * 9999) and not shared_exit.claim_line("\ud800/ü\n" * 9999)
