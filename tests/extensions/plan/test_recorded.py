"""The recorded figures, against what the launchers' headers say of the same logs."""

import re

import pytest

from extensions.base.paths import LAUNCHERS
from extensions.logbook import header, steps
from extensions.plan import recorded

LOGS = recorded.read().logs
RECORD = re.compile(r"([\d]+)(?: of \d+)? steps\b[^;]*? in ([\d.]+) h")


@pytest.mark.parametrize("script", sorted(LAUNCHERS.glob("[0-9]*.sh")), ids=lambda path: path.stem)
def test_every_log_that_a_header_names_is_there(script):
    said = RECORD.search(header.read(script).record)
    logs = {(log.steps, log.hours) for log in LOGS.get(script.stem, [])}
    if said:
        assert (int(said[1]), float(said[2])) in logs
    else:
        counts = {int(n) for n in re.findall(r"(\d+) steps", header.read(script).record)}
        assert counts <= {log.steps for log in LOGS.get(script.stem, [])}


def test_headers_name_logs_with_hours_at_all():
    found = [script for script in LAUNCHERS.glob("[0-9]*.sh") if RECORD.search(header.read(script).record)]
    assert len(found) == 14


def test_every_log_has_a_launcher_and_carries_its_date():
    for run, logs in LOGS.items():
        assert (LAUNCHERS / f"{run}.sh").is_file() and logs
        assert all(re.fullmatch(r"just_astolfo_\d{8}_20\d{12}", log.log) for log in logs)


def test_the_schedule_of_the_large_set_is_upstreams_arithmetic():
    known = recorded.read().schedules
    assert known == {"12.4M": steps.count(steps.IMAGES["12.4M"], 1, 4, 1, 4).optimizer_steps}


def test_the_memory_table_has_twelve_readings_and_two_that_were_out_of_memory():
    readings = recorded.read().readings
    assert [row.gb is None for row in readings].count(True) == 2 and len(readings) == 14
    assert all(row.gb <= row.card for row in readings if row.gb)
