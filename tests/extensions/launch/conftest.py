"""What RAMDISK=1 stages, and a tmpfs to stage to."""

import os
from pathlib import Path

import pytest

from extensions.launch import memory, ramdisk
from tests.helpers.ramdisk_cases import describe

SHM = Path("/dev/shm")


@pytest.fixture
def inputs(tmp_path):
    """A folder with a run's base model, metadata and latents, and an image beside the latents."""
    (tmp_path / "latents").mkdir()
    for name in ("base.safetensors", "latents/1.npz", "latents/2.npz", "latents/1.png"):
        (tmp_path / name).write_bytes(os.urandom(1000))
    describe(tmp_path, "12")
    return tmp_path


@pytest.fixture
def root(monkeypatch):
    """A folder to stage to, in shared memory; its `staged` is what RAMDISK=1 makes."""
    if not (os.access(SHM, os.W_OK) and memory.is_tmpfs(SHM)):
        pytest.skip("/dev/shm is not a tmpfs that can be written")
    folder = SHM / f"ramdisk-test-{os.getpid()}"
    monkeypatch.setenv("RAMDISK_DIR", str(folder))
    monkeypatch.setattr(ramdisk, "room", lambda _: memory.Room(1 << 20, 100))
    yield folder / "staged"
    if folder.exists():
        ramdisk.clean()
    assert not folder.exists()
