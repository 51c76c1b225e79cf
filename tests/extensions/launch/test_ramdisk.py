"""Staging: verified copies that are used again, by one launch or two at once. On a real tmpfs."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data import index, store
from extensions.data.pack import make
from extensions.launch import copying, ramdisk
from tests.helpers.ramdisk_cases import contents, describe, launch, stage


def test_flags_point_at_equal_copies_and_the_sources_are_remembered(inputs, root):
    made = stage(inputs)
    base = made.path("pretrained_model_name_or_path")
    assert base.is_relative_to(root) and base.read_bytes() == (inputs / "base.safetensors").read_bytes()
    latents = contents(inputs / "latents")
    del latents["1.png"]
    assert contents(made.path("train_data_dir")) == latents, "LatentsDataset reads npz files alone"
    assert made.source("train_data_dir") == inputs / "latents" and set(dict(made.sources)) == set(ramdisk.STAGED)
    staged = index.open_for(made.path("in_json"), made.path("train_data_dir"))
    assert made.source("in_json") == inputs / "meta.json" and staged.path.is_relative_to(root)
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
    plain = copying.digest

    def slow(source, out=None):
        done = plain(source, out)
        if out and source.name.endswith("2.npz"):
            (inputs / "latents" / "2.npz").write_bytes(b"longer than it was" * 100)
        return done

    monkeypatch.setattr(copying, "digest", slow)
    with pytest.raises(UserError, match="2.npz changed while it was copied"):
        stage(inputs)
    monkeypatch.setattr(copying, "digest", plain)
    copies = contents(stage(inputs).path("train_data_dir"))
    assert copies["2.npz"] == (inputs / "latents" / "2.npz").read_bytes()


def test_a_bad_copy_is_told_and_never_used(inputs, root, monkeypatch):
    digests = iter([b"one", b"other"])
    monkeypatch.setattr(copying, "digest", lambda source, out=None: next(digests))
    with pytest.raises(UserError, match="base.safetensors differs"):
        stage(inputs)
    assert not list(root.glob("[0-9a-f]*/*"))


KILLED = """
import os, signal, sys
from extensions.launch import asked as request, copying, ramdisk
from extensions.launch.stages import Resolved, become
plain = copying.os.replace
def replace(one, other):
    if str(other).endswith("2.npz"):
        os.kill(os.getpid(), signal.SIGKILL)
    plain(one, other)
copying.os.replace = replace
with ramdisk.staged(become(Resolved, request.read(sys.argv[1:], {}))):
    pass
"""


def test_a_copy_that_was_killed_leaves_nothing_behind_the_next_does_not_clear(inputs, root):
    made = launch(inputs)
    words = [made.run, "RAMDISK=1", made.script, *made.flags.words()]
    done = subprocess.run([sys.executable, "-c", KILLED, *words], cwd=ROOT, check=False)
    assert done.returncode == -9
    assert [path.name for path in (root / ramdisk.PARTIAL).iterdir()] == ["2.npz"]
    made = stage(inputs)
    assert not list((root / ramdisk.PARTIAL).iterdir())
    assert sorted(contents(made.path("train_data_dir"))) == ["1.npz", "2.npz"]


def test_two_launches_at_once_copy_once(inputs, root, monkeypatch, capsys):
    copied, plain = [], copying.copy_one
    first_is_in = threading.Event()

    def slow(file, *rest):
        first_is_in.set()
        copied.append(file.name)
        plain(file, *rest)

    monkeypatch.setattr(copying, "copy_one", slow)
    made = []
    threads = [threading.Thread(target=lambda: made.append(stage(inputs))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(copied) == ["1.npz", "2.npz", "base.safetensors", "meta.json.index.arrow"]
    assert made[0].flags.words() == made[1].flags.words()
    assert sorted("all there already" in one.notes[0] for one in made) == [False, True]


def test_latents_in_folders_are_staged_and_removed_with_their_ids(tmp_path):
    for name in ("a", "one/a", "one/two/b", ".hidden/c"):
        (tmp_path / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / f"{name}.npz").write_text(name)
    (tmp_path / "data" / "one" / "round").symlink_to(tmp_path / "data")
    each = copying.Input("train_data_dir", tmp_path / "data", tmp_path / "copy", ".npz")
    copying.copy_all(each, tmp_path / "partial")
    assert {name: (tmp_path / "copy" / f"{name}.npz").read_text() for name in ("a", "one/a", "one/two/b")}
    assert len(list((tmp_path / "copy").rglob("*.npz"))) == 3
    (tmp_path / "data" / "one" / "a.npz").unlink()
    copying.copy_all(each, tmp_path / "partial")
    assert sorted(path.name for path in (tmp_path / "copy").rglob("*.npz")) == ["a.npz", "b.npz"]
