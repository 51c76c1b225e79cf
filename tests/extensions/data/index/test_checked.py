"""Folders of latents: scanned once, again when they change, and refused in one line where an id has none."""

import json
import os
import time

import pytest

from extensions.base.errors import UserError
from extensions.data import store
from extensions.data.index import checked
from extensions.data.index.build import build
from extensions.data.index.layout import beside, index_of
from extensions.data.index.policies import Policies
from extensions.data.index.reader import Index
from tests.helpers.index_cases import entry


@pytest.fixture
def index(written, small_parts):
    path = written([(key, entry()) for key in "abcdef"], latents="abcdef")
    build([path], index_of(path), None, Policies())
    return Index(index_of(path))


@pytest.fixture
def folder(index, tmp_path):
    """The latents' folder, last changed long ago."""
    os.utime(tmp_path / "latents", ns=(10**18, 10**18))
    return tmp_path / "latents"


def is_known(index, folder) -> bool:
    return checked.is_known(index.path, index.keys_fingerprint, folder)


def test_a_complete_folder_is_remembered_until_it_changes(index, folder):
    assert not is_known(index, folder)
    checked.require(index, folder)
    assert is_known(index, folder) and is_known(index, folder / ".." / "latents")
    (folder / "new.npz").touch()
    assert not is_known(index, folder)
    checked.require(index, folder)


def test_what_is_missing_is_counted_over_all_batches_and_named(index, folder):
    for key in "bf":
        (folder / f"{key}.npz").unlink()
    with pytest.raises(
        UserError, match=r"2 of 6 ids have no latents in .*latents, e\.g\. b\.npz; .*missing=skip"
    ) as error:
        checked.require(index, folder)
    assert "\n" not in str(error.value) and not is_known(index, folder)


def test_an_empty_folder(index, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="6 of 6 ids have no latents"):
        checked.require(index, tmp_path / "empty")


def test_a_folder_that_changed_just_now_is_looked_at_again(index, folder):
    os.utime(folder, ns=(time.time_ns(), time.time_ns()))
    checked.require(index, folder)
    assert not is_known(index, folder), "a file that goes within the same tick of the clock would not be seen"


def test_other_ids_need_another_look_and_other_folders_stay_known(index, folder, tmp_path):
    checked.require(index, folder)
    assert not checked.is_known(index.path, "of other ids", folder)
    copy = tmp_path / "copy"
    copy.mkdir()
    for key in "abcdef":
        (copy / f"{key}.npz").touch()
    os.utime(copy, ns=(10**18, 10**18))
    checked.require(index, copy)
    assert is_known(index, folder) and is_known(index, copy)


def test_a_note_that_is_broken_or_cannot_be_written_costs_a_scan(index, folder, monkeypatch):
    beside(index.path, "checked.json").write_text("{")
    assert not is_known(index, folder)

    def refused(*_):
        raise PermissionError

    monkeypatch.setattr(checked, "write_text", refused)
    checked.require(index, folder)
    assert not is_known(index, folder)


def test_only_the_last_folders_are_kept(index, folder):
    for number in range(12):
        checked.remember(index.path, index.keys_fingerprint, checked.Folder(f"/{number}", 1, 6))
    kept = json.loads(beside(index.path, "checked.json").read_text())["folders"]
    assert [each["path"] for each in kept] == [f"/{number}" for number in range(4, 12)]


def test_a_scan_says_how_far_it_is(index, folder, monkeypatch, shown):
    monkeypatch.setattr(store, "NAMES", 2)
    checked.require(index, folder)
    assert shown == {("looking through latents", 6, "latents"): [(2, 2), (4, 4), (6, 6)]}
    shown.clear()
    state, found = checked.scan(folder, 3)
    assert state.ids == len(found) == 6
    assert shown == {("looking through latents", 3, "latents"): [(2, 2), (3, 4), (3, 6)]}, "more than looked for"


def test_a_folder_that_is_gone_or_cannot_be_read(index, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="no such folder of latents: .*none"):
        checked.require(index, tmp_path / "none")
    assert not is_known(index, tmp_path / "none")

    def refused(folder, below):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store, "present_ids", refused)
    with pytest.raises(UserError, match="cannot read the latents in: .*Permission denied.*readable"):
        checked.require(index, tmp_path / "latents")


def test_a_change_in_a_folder_below_is_seen(index, folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "x.npz").touch()
    for path in (folder / "sub", folder):
        os.utime(path, ns=(10**18, 10**18))
    checked.require(index, folder)
    assert is_known(index, folder)
    (folder / "sub" / "y.npz").touch()
    assert not is_known(index, folder)
    os.utime(folder / "sub", ns=(10**18, 10**18))
    assert is_known(index, folder)
    (folder / "sub" / "x.npz").unlink()
    (folder / "sub" / "y.npz").unlink()
    (folder / "sub").rmdir()
    os.utime(folder, ns=(10**18, 10**18))
    assert not is_known(index, folder)


def test_what_an_older_version_remembered_holds(index, folder):
    checked.require(index, folder)
    path = beside(index.path, "checked.json")
    found = json.loads(path.read_text())
    for each in found["folders"]:
        del each["below"]
    path.write_text(json.dumps(found))
    assert is_known(index, folder)
