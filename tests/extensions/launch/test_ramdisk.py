"""Staging: verified copies, reuse, fall-back where there is no room. On a real tmpfs."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data import index, store
from extensions.data.pack import make
from extensions.launch import memory, ramdisk, request, run_folder

SHM = Path("/dev/shm")
LATENTS = "--dataset_class=extensions.data.dataset.LatentsDataset"


@pytest.fixture
def inputs(tmp_path):
    """A folder with a run's base model, metadata and latents, and an image beside the latents."""
    (tmp_path / "latents").mkdir()
    for name in ("base.safetensors", "latents/1.npz", "latents/2.npz", "latents/1.png"):
        (tmp_path / name).write_bytes(os.urandom(1000))
    describe(tmp_path, "12")
    return tmp_path


def describe(folder, keys, caption="A cat.") -> None:
    entries = {key: {"caption": caption, "train_resolution": [64, 64]} for key in keys}
    (folder / "meta.json").write_text(json.dumps(entries))


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


def asked(folder, *more):
    words = ["1", "RAMDISK=1", "sdxl_train.py", f"--pretrained_model_name_or_path={folder / 'base.safetensors'}"]
    words += [f"--in_json={folder / 'meta.json'}", f"--train_data_dir={folder / 'latents'}", LATENTS, *more]
    return request.read(words, {})


def stage(folder, *more) -> request.Request:
    made = asked(folder, *more)
    with ramdisk.staged(made):
        pass
    return made


def contents(folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def test_flags_point_at_equal_copies_and_the_request_remembers_the_sources(inputs, root):
    made = stage(inputs)
    base = made.path("pretrained_model_name_or_path")
    assert base.is_relative_to(root) and base.read_bytes() == (inputs / "base.safetensors").read_bytes()
    latents = contents(inputs / "latents")
    del latents["1.png"]
    assert contents(made.path("train_data_dir")) == latents, "LatentsDataset reads npz files alone"
    assert made.staged["train_data_dir"] == inputs / "latents" and set(made.staged) == set(ramdisk.STAGED)
    staged = index.open_for(made.path("in_json"), made.path("train_data_dir"))
    assert made.staged["in_json"] == inputs / "meta.json" and staged.path.is_relative_to(root)
    assert staged.fingerprint == index.Index(inputs / "meta.json.index.arrow").fingerprint and len(staged) == 2
    assert len(made.notes) == 1 and "copied" in made.notes[0]


def test_other_data_sets_get_the_whole_folder(inputs, root):
    made = stage(inputs, "--dataset_class=some.Other")
    assert contents(made.path("train_data_dir")) == contents(inputs / "latents")
    assert made.path("in_json").read_bytes() == (inputs / "meta.json").read_bytes(), "they read the JSON themselves"
    assert not (inputs / "meta.json.index.arrow").exists()


def test_a_pack_is_staged_whole(inputs, root):
    npz = (inputs / "latents").rename(inputs / "npz")
    for key in "12":
        sizes = {"original_size": np.array([64, 64]), "crop_ltrb": np.array([0, 0, 64, 64])}
        np.savez(npz / f"{key}.npz", latents=np.ones((4, 8, 8), np.float32), **sizes)
    make.make(index.open_for(inputs / "meta.json", npz), make.Wish(npz, inputs / "latents"), 1)
    made = stage(inputs)
    assert contents(made.path("train_data_dir")) == contents(inputs / "latents")
    staged = index.open_for(made.path("in_json"), made.path("train_data_dir"))
    assert store.open_store(made.path("train_data_dir"), staged).read(1, staged[1]).latents.all()


def test_unchanged_files_are_reused_changed_ones_copied_and_removed_ones_removed(inputs, root, monkeypatch):
    made = stage(inputs)
    kept = made.path("in_json").stat().st_ino
    assert "all there already" in stage(inputs).notes[0]
    (inputs / "latents" / "2.npz").write_bytes(b"new")
    (inputs / "latents" / "3.npz").write_bytes(b"three")
    again = stage(inputs)
    assert again.path("in_json").stat().st_ino == kept
    (inputs / "latents" / "1.npz").unlink()
    describe(inputs, "23")
    again = stage(inputs)
    assert again.path("in_json").stat().st_ino != kept
    assert contents(again.path("train_data_dir")) == {"2.npz": b"new", "3.npz": b"three"}


def test_metadata_that_change_are_indexed_and_staged_again(inputs, root):
    stage(inputs)
    describe(inputs, "12", "A dog.")
    made = stage(inputs)
    assert index.open_for(made.path("in_json"), made.path("train_data_dir"))[0].caption == "A dog."
    (inputs / "latents" / "2.npz").unlink()
    with pytest.raises(UserError, match="1 of 2 ids have no latents"):
        stage(inputs)


def test_a_file_of_the_same_size_with_another_time_is_copied_again(inputs, root):
    stage(inputs)
    path = inputs / "base.safetensors"
    path.write_bytes(os.urandom(1000))
    os.utime(path, ns=(1, 1))
    assert stage(inputs).path("pretrained_model_name_or_path").read_bytes() == path.read_bytes()


def test_a_file_that_changes_while_it_is_copied(inputs, root, monkeypatch):
    plain = ramdisk.digest

    def slow(source, out=None):
        done = plain(source, out)
        if out and source.name.endswith("2.npz"):
            (inputs / "latents" / "2.npz").write_bytes(b"longer than it was" * 100)
        return done

    monkeypatch.setattr(ramdisk, "digest", slow)
    with pytest.raises(UserError, match="2.npz changed while it was copied"):
        stage(inputs)
    monkeypatch.setattr(ramdisk, "digest", plain)
    copies = contents(stage(inputs).path("train_data_dir"))
    assert copies["2.npz"] == (inputs / "latents" / "2.npz").read_bytes()


def test_a_bad_copy_is_told_and_never_used(inputs, root, monkeypatch):
    digests = iter([b"one", b"other"])
    monkeypatch.setattr(ramdisk, "digest", lambda source, out=None: next(digests))
    with pytest.raises(UserError, match="base.safetensors differs"):
        stage(inputs)
    assert not list(root.glob("[0-9a-f]*/*"))


KILLED = """
import os, signal, sys
from extensions.launch import ramdisk, request
plain = ramdisk.os.replace
def replace(one, other):
    if str(other).endswith("2.npz"):
        os.kill(os.getpid(), signal.SIGKILL)
    plain(one, other)
ramdisk.os.replace = replace
with ramdisk.staged(request.read(sys.argv[1:], {})):
    pass
"""


def test_a_copy_that_was_killed_leaves_nothing_behind_the_next_does_not_clear(inputs, root):
    made = asked(inputs)
    words = [made.run, "RAMDISK=1", made.script, *made.flags.words()]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, check=False)
    assert done.returncode == -9
    assert [path.name for path in (root / ramdisk.PARTIAL).iterdir()] == ["2.npz"]
    made = stage(inputs)
    assert not list((root / ramdisk.PARTIAL).iterdir())
    assert sorted(contents(made.path("train_data_dir"))) == ["1.npz", "2.npz"]


def test_two_launches_at_once_copy_once(inputs, root, monkeypatch, capsys):
    copied, plain = [], ramdisk.copy_one
    first_is_in = threading.Event()

    def slow(file, *rest):
        first_is_in.set()
        copied.append(file.name)
        plain(file, *rest)

    monkeypatch.setattr(ramdisk, "copy_one", slow)
    made = [asked(inputs), asked(inputs)]
    threads = [threading.Thread(target=lambda one=one: ramdisk.staged(one).__enter__()) for one in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(copied) == ["1.npz", "2.npz", "base.safetensors", "meta.json.index.arrow"]
    assert made[0].flags.words() == made[1].flags.words()
    assert sorted("all there already" in one.notes[0] for one in made) == [False, True]


@pytest.mark.parametrize(("space", "said"), [((3500, 100), "to spare"), ((1 << 20, 3), "more files")])
def test_too_small_falls_back_in_one_line(inputs, root, monkeypatch, space, said):
    monkeypatch.setattr(ramdisk, "room", lambda _: memory.Room(*space))
    made = stage(inputs)
    assert made.path("in_json") == inputs / "meta.json" and made.staged == {}
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
        assert "No space left" in made.notes[0] and made.staged == {} and len(made.notes) == 1
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
    made = asked(inputs)
    with ramdisk.staged(made):
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
    made = asked(inputs)
    made.ramdisk = False
    with ramdisk.staged(made):
        assert not root.parent.exists() and made.notes == []


def test_the_record_names_and_hashes_the_metadata_and_not_their_staged_index(inputs, root, monkeypatch):
    monkeypatch.setattr(run_folder, "RUNTIME", inputs)
    plain = run_folder.of_source(asked(inputs), "in_json")
    with ramdisk.staged(made := asked(inputs)):
        assert run_folder.of_source(made, "in_json") == plain
    assert plain["sha256"] == hashlib.sha256((inputs / "meta.json").read_bytes()).hexdigest()
    assert plain["path"] == str(inputs / "meta.json") and plain["bytes"] == (inputs / "meta.json").stat().st_size
