"""Of the hostile cases the daily suite takes every third of each file; `make test-all` takes all."""

from itertools import groupby
from pathlib import Path

import pytest

HERE = Path(__file__).parent
DAILY = 3


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    ours = (item for item in items if HERE in item.path.parents and not item.get_closest_marker("slow"))
    for _, cases in groupby(ours, key=lambda item: item.path):
        for number, item in enumerate(cases):
            if number % DAILY:
                item.add_marker(pytest.mark.slow)
