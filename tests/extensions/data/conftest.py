"""A small set of npz latents and its index; a disk of 64 KiB."""

import subprocess
from types import SimpleNamespace

import npz_sets
import pytest

from extensions.data.index import open_for


@pytest.fixture
def data_set(tmp_path):
    """Twelve images in three buckets. folder: of the test; meta, data: metadata and npz files; index."""
    meta, data = npz_sets.make(tmp_path)
    return SimpleNamespace(folder=tmp_path, meta=meta, data=data, index=open_for(meta, data))


@pytest.fixture
def small_disk(tmp_path):
    """A tmpfs, mounted for the test."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # a store may still have its files open
