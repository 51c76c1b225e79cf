"""What is read from its disk where there is no room, what the record says of copies, and their removal."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from extensions.base import manifest
from extensions.base.errors import UserError
from extensions.launch import memory, ramdisk, run_folder
from extensions.launch.stages import Staged, Started, changed
from tests.helpers import asking
from tests.helpers.ramdisk_cases import contents, launch, stage


@pytest.mark.parametrize(("space", "said"), [((3500, 100), "to spare"), ((1 << 20, 3), "more files")])
def test_too_small_falls_back_in_one_line(inputs, root, monkeypatch, space, said):
    monkeypatch.setattr(ramdisk, "room", lambda _: memory.Room(*space))
    made = stage(inputs)
    assert made.path("in_json") == inputs / "meta.json" and made.sources == ()
    assert len(made.notes) == 1 and said in made.notes[0] and made.notes[0].endswith("reading from disk")
    assert not list(root.glob("[0-9a-f]*/*")), "nothing is copied that would not be read"


def test_the_real_thing_that_is_too_small(inputs, tmp_path, monkeypatch):
    """A tmpfs of 64 KiB, mounted for the test, its path with a space in it."""
    folder = tmp_path / "ram disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        monkeypatch.setenv("RAMDISK_DIR", str(folder))
        (inputs / "latents" / "big.npz").write_bytes(os.urandom(100_000))
        made = stage(inputs)
        assert "to spare" in made.notes[0] and made.path("in_json") == inputs / "meta.json"
        # The size is checked first; where it was wrong, the write fails, and the run still starts.
        monkeypatch.setattr(ramdisk, "room", lambda _: memory.Room(1 << 30, 100))
        made = stage(inputs)
        assert "No space left" in made.notes[0] and made.sources == () and len(made.notes) == 1
        (inputs / "latents" / "big.npz").unlink()
        assert stage(inputs).path("in_json").is_relative_to(folder)
        (folder / "someone else's").write_text("kept")
        ramdisk.clean()
        assert contents(folder) == {"someone else's": b"kept"}, "a mount point stays, and what is not ours"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_folder_that_is_not_in_memory_is_not_filled(inputs, root, monkeypatch):
    monkeypatch.setattr(ramdisk, "is_tmpfs", lambda _: False)
    made = stage(inputs)
    assert "is not a tmpfs" in made.notes[0] and made.path("in_json") == inputs / "meta.json"
    assert not root.exists()
    root.parent.rmdir()


def test_a_mount_that_cannot_be_used(inputs, monkeypatch):
    (inputs / "file").touch()
    monkeypatch.setenv("RAMDISK_DIR", str(inputs / "file" / "below"))
    made = stage(inputs)
    assert "cannot be used" in made.notes[0] and made.path("in_json") == inputs / "meta.json"


def test_clean_waits_for_runs_and_removes_only_what_was_staged(inputs, root, monkeypatch):
    with ramdisk.staged(launch(inputs)) as made:
        with pytest.raises(UserError, match="a run is reading"):
            ramdisk.clean()
        assert made.path("in_json").is_file()
    ramdisk.clean()
    assert not root.parent.exists()
    root.mkdir(parents=True)
    with pytest.raises(UserError, match="not made by"):
        ramdisk.clean()
    root.rmdir()
    root.parent.rmdir()
    ramdisk.clean()


def test_without_ramdisk_nothing_happens(inputs, root):
    plain = changed(launch(inputs), ramdisk=False)
    with ramdisk.staged(plain) as made:
        assert not root.parent.exists() and made.notes == () and made.flags == plain.flags


def test_the_training_process_holds_the_output_with_and_without_copies(inputs, root):
    for now in (launch(inputs), changed(launch(inputs), ramdisk=False)):
        with ramdisk.staged(now, (7,)) as made:
            assert made.held == (7,)


def recorded(staged: Staged, folder: Path) -> manifest.Manifest:
    folder.mkdir()
    run_folder.write_manifest(Started(changed(staged, trainer="reference", cpu=True), folder, (), {}))
    return manifest.read(folder)


def test_the_record_names_and_hashes_the_files_and_not_their_copies(inputs, root, monkeypatch):
    monkeypatch.setattr(run_folder, "RUNTIME", inputs)
    plain = recorded(asking.staged(launch(inputs)), inputs / "one")
    with ramdisk.staged(launch(inputs)) as made:
        copied = recorded(made, inputs / "other")
    assert (copied.metadata, copied.base_model) == (plain.metadata, plain.base_model)
    for found, path in ((plain.metadata, inputs / "meta.json"), (plain.base_model, inputs / "base.safetensors")):
        assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        assert found["path"] == str(path) and found["bytes"] == path.stat().st_size
    assert copied.ramdisk == {flag: str(launch(inputs).path(flag)) for flag in ramdisk.STAGED} and plain.ramdisk == {}
