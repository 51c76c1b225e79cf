"""A file stands under its name only when it is whole."""

import os
import shutil
import stat

import pytest

from extensions.base.errors import UserError
from extensions.base.saving import replacing, replacing_folder, require_room, write_text


def test_replaces_and_keeps_the_suffix(tmp_path):
    path = tmp_path / "new folder" / "a.safetensors"
    with replacing(path) as temporary:
        assert temporary.suffix == ".safetensors" and temporary.parent == path.parent
        temporary.write_text("new")
        os.chmod(temporary, 0o600)
    assert path.read_text() == "new"
    assert stat.S_IMODE(path.stat().st_mode) & 0o044 == 0o044 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_failure_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_given_temporary_path_is_used_and_what_a_kill_left_there_is_written_over(tmp_path):
    temporary = tmp_path / "work" / "whole.txt"
    temporary.parent.mkdir()
    temporary.write_text("of the last try, and longer")
    with replacing(tmp_path / "a.txt", temporary=temporary) as given:
        assert given == temporary
        given.write_text("new")
    assert (tmp_path / "a.txt").read_text() == "new" and not list(temporary.parent.iterdir())


def test_folder_appears_whole_or_not_at_all(tmp_path):
    with pytest.raises(RuntimeError), replacing_folder(tmp_path / "a") as temporary:
        (temporary / "file").touch()
        raise RuntimeError
    assert not list(tmp_path.iterdir())
    for _ in range(2):  # the second finds it there and leaves it
        with replacing_folder(tmp_path / "a") as temporary:
            (temporary / "file").touch()
    assert [p.name for p in tmp_path.iterdir()] == ["a"] and (tmp_path / "a" / "file").is_file()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose a writable folder"), replacing(tmp_path / "file" / "a.txt"):
        pass


def test_room_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10**9}))
    require_room(tmp_path, 10**9, "a state")
    with pytest.raises(UserError, match="has 1.0 GB free, a state takes 1.1 GB; make room"):
        require_room(tmp_path, 11 * 10**8, "a state")


@pytest.mark.parametrize("name", ["x" * 251 + ".npz", "日" * 83 + ".npz", "a.npz"])
def test_names_as_long_as_a_file_system_takes(tmp_path, name):
    with replacing(tmp_path / name) as temporary:
        assert temporary.suffix == ".npz" and len(os.fsencode(temporary.name)) <= 255
        temporary.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == [name]
