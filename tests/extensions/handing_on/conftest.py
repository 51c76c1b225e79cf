"""Shared by the tests of what is handed on: records of runs, and nothing kept between tests."""

from pathlib import Path

import pytest

from extensions.base import paths
from extensions.report import records
from tests.helpers import run_folders


@pytest.fixture
def logs(tmp_path, monkeypatch) -> Path:
    """Ten records, hostile names among them."""
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(records, "KEPT", tmp_path / "kept")
    return run_folders.logbook(tmp_path / "logs")
