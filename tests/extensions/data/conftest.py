"""A small set of npz latents and its index; a disk of 64 KiB."""

from types import SimpleNamespace

import pytest

from extensions.data.index import open_for
from tests.helpers import npz_sets


@pytest.fixture
def data_set(tmp_path):
    """Twelve images in three buckets. folder: of the test; meta, data: metadata and npz files; index."""
    meta, data = npz_sets.make(tmp_path)
    return SimpleNamespace(folder=tmp_path, meta=meta, data=data, index=open_for(meta, data))
