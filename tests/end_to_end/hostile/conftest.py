"""Of the hostile cases the daily suite takes every third of each file; `make test-all` takes all."""

from itertools import groupby
from pathlib import Path

import pytest

from extensions.base import paths
from extensions.report import overview, records
from tests.helpers.run_folders import folder_of, lines

HERE = Path(__file__).parent
DAILY = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    ours = (item for item in items if HERE in item.path.parents and not item.get_closest_marker("slow"))
    for _, cases in groupby(ours, key=lambda item: item.path):
        for number, item in enumerate(cases):
            if number % DAILY:
                item.add_marker(pytest.mark.slow)


@pytest.fixture
def logs(tmp_path, monkeypatch):
    """One sound run, beside which others are made."""
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(records, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(overview, "launchers", lambda: ({}, []))
    folder_of(tmp_path / "logs", "sound", "20260101T000000Z", lines(1, 5))
    return tmp_path / "logs"
