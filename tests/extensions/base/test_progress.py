"""A line every half minute in a log, a bar on a terminal; rate and time left in both."""

import os
import pty
import re
import subprocess
import sys

import pytest

from extensions.base import progress as module
from extensions.base.paths import ROOT
from extensions.base.progress import progress


class Clock:
    """A clock that the test moves."""

    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    made = Clock()
    monkeypatch.setattr(module, "time", made)
    return made


def test_a_log_gets_a_line_every_half_minute_with_rate_and_time_left(clock, capsys):
    with progress("reading a.json", 1000, "images", done=100) as told:
        for second in range(61):
            clock.now = 1000 + second
            told(100 + 5 * second, 50_000 + 2000 * second)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "reading a.json: 25 %, 110,000 images, 2,000/s, 2.5 minutes left",
        "reading a.json: 40 %, 170,000 images, 2,000/s, 2.0 minutes left",
    ]


def test_where_the_total_is_not_known_there_are_units_and_rate(clock, capsys):
    with progress("looking", None, "images") as told:
        for second in range(31):
            clock.now = 1000 + second
            told(10 * second, 10 * second)
    assert capsys.readouterr().err == "looking: 300 images, 10/s\n"


def test_a_short_task_leaves_the_log_alone(clock, capsys):
    with progress("reading", 10, "images") as told:
        told(0, 0)
        clock.now += 29
        told(10, 10)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("units", "seconds", "told"),
    [
        (0, 40, "0/s"),
        (1, 40, "40.0 s each"),
        (30, 40, "1.3 s each"),
        (40, 40, "1.0/s"),
        (100, 40, "2.5/s"),
        (400, 40, "10/s"),
        (10**7, 40, "250,000/s"),
    ],
)
def test_what_is_slow_has_seconds_and_not_a_rate_of_nothing(clock, units, seconds, told):
    rate = module._Rate()
    rate.of(0)
    clock.now += seconds
    assert rate.told(units) == told


SHOWN = """
from extensions.base.progress import progress
with progress("reading", 10, "images") as told:
    told(1, 0)
    told(10, 77)
"""


def on_a_terminal(program) -> str:
    parent, child = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=child, env=environment, check=True)
    os.close(child)
    said = os.read(parent, 1 << 16).decode()
    os.close(parent)
    return said


def test_without_a_total_the_bar_has_no_share():
    said = on_a_terminal(SHOWN.replace("10,", "None,"))
    assert "%" not in said and re.search(r"77 images, [\d,]+/s", said) and "━" in said


def test_a_terminal_gets_a_bar():
    said = on_a_terminal(SHOWN)
    assert "100%" in said and re.search(r"77 images, [\d,]+/s", said) and "━" in said
