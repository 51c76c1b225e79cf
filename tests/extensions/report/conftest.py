"""Shared by the tests of the pages: a logbook of run folders, its pages, a browser."""

from pathlib import Path

import pytest

from extensions.base import paths
from extensions.report import __main__ as report
from extensions.report import records
from tests.helpers import browser, run_folders


@pytest.fixture(autouse=True)
def kept_apart(monkeypatch, tmp_path_factory):
    """What is kept of files is the test's own."""
    monkeypatch.setattr(records, "KEPT", tmp_path_factory.getbasetemp() / "kept")


@pytest.fixture(scope="session")
def logs(tmp_path_factory) -> Path:
    return run_folders.logbook(tmp_path_factory.mktemp("logs of runs"))


@pytest.fixture(scope="session")
def site(logs, tmp_path_factory) -> Path:
    """Pages of the logbook, and one that compares."""
    out = tmp_path_factory.mktemp("pages of runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOGS", logs)
        patch.setattr(records, "KEPT", tmp_path_factory.getbasetemp() / "kept")
        assert report.main(["report", "--out", str(out)]) == 0
        assert report.main(["compare", "25022501 25022601", "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def needs_browser():
    if browser.missing():
        pytest.skip(browser.missing())
