"""Staging: verified copies, reuse, fall-back where there is no room. On a real tmpfs where there is one."""

import os
from pathlib import Path

import pytest

from extensions.errors import UserError
from extensions.launch import ramdisk, request


@pytest.fixture
def staged(tmp_path, monkeypatch):
    """A run's inputs, and a folder to stage to."""
    shm = Path("/dev/shm")
    root = (shm if os.access(shm, os.W_OK) else tmp_path) / f"ramdisk-test-{os.getpid()}"
    monkeypatch.setenv("RAMDISK_DIR", str(root))
    (tmp_path / "latents").mkdir()
    for name in ("base.safetensors", "meta.json", "latents/1.npz", "latents/2.npz"):
        (tmp_path / name).write_bytes(os.urandom(1000))
    yield asked(tmp_path), root
    if root.exists():
        ramdisk.clean()


def asked(folder):
    words = ["1", "RAMDISK=1", "sdxl_train.py", f"--pretrained_model_name_or_path={folder / 'base.safetensors'}"]
    words += [f"--in_json={folder / 'meta.json'}", f"--train_data_dir={folder / 'latents'}"]
    return request.read(words, {})


def test_flags_point_at_equal_copies(staged, tmp_path):
    made, root = staged
    ramdisk.stage(made)
    base = made.path("pretrained_model_name_or_path")
    assert base.is_relative_to(root) and base.read_bytes() == (tmp_path / "base.safetensors").read_bytes()
    copies = made.path("train_data_dir")
    assert {p.name: p.read_bytes() for p in copies.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "latents").iterdir()
    }


def test_unchanged_files_are_reused_and_changed_ones_copied(staged, tmp_path):
    made, _ = staged
    ramdisk.stage(made)
    kept = made.path("in_json").stat().st_ino
    (tmp_path / "latents" / "2.npz").write_bytes(b"new")
    again = asked(tmp_path)
    ramdisk.stage(again)
    assert again.path("in_json").stat().st_ino == kept
    assert (again.path("train_data_dir") / "2.npz").read_bytes() == b"new"


def test_too_small_falls_back_in_one_line(staged, monkeypatch, tmp_path):
    made, _ = staged
    monkeypatch.setattr(ramdisk, "capacity", lambda root: 3500)
    ramdisk.stage(made)
    assert made.path("in_json") == tmp_path / "meta.json"
    assert len(made.notes) == 1 and "reading from disk" in made.notes[0]


def test_a_mount_that_cannot_be_used(staged, monkeypatch, tmp_path):
    made, _ = staged
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAMDISK_DIR", str(tmp_path / "file" / "below"))
    ramdisk.stage(made)
    assert "cannot be used" in made.notes[0] and made.path("in_json") == tmp_path / "meta.json"


def test_a_bad_copy_is_told(staged, monkeypatch, tmp_path):
    made, root = staged
    digests = iter([b"one", b"other"])
    monkeypatch.setattr(ramdisk, "digest", lambda source, out=None: out and out.write(b"x") and None or next(digests))
    with pytest.raises(UserError, match="differs"):
        ramdisk.stage(made)
    assert not list(root.glob("*/base.safetensors"))


def test_clean_removes_only_what_it_made(staged, monkeypatch, tmp_path):
    made, root = staged
    ramdisk.stage(made)
    ramdisk.clean()
    assert not root.exists()
    monkeypatch.setenv("RAMDISK_DIR", str(tmp_path))
    with pytest.raises(UserError, match="not made by"):
        ramdisk.clean()
    assert (tmp_path / "meta.json").exists()
