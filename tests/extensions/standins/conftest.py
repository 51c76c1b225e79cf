"""Stand-ins made once for all tests of this folder."""

import pytest

from extensions.standins.ensure import ensure_all


@pytest.fixture(scope="session")
def standins(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stand ins")
    return ensure_all(folder / "models", folder / "datasets")
