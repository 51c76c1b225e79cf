"""Images below a folder, by parts that do not change when the set grows."""

import os
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace

import pytest

from extensions.base.errors import UserError
from extensions.data.make import images


def listed(folder):
    found = images.find(folder)
    return {found.ids[int(i)].as_py(): part for part, chosen in found.parts() for i in chosen}


def test_parts_depend_on_the_id_alone(tmp_path, monkeypatch):
    for number in range(40):
        (tmp_path / f"{number}.png").touch()
    (tmp_path / ".hidden.png").touch()
    (tmp_path / "no.txt").touch()
    before = listed(tmp_path)
    assert set(before) == {str(number) for number in range(40)} and len(set(before.values())) > 20
    (tmp_path / "more").mkdir()
    for number in range(40, 60):
        (tmp_path / "more" / f"{number}.JPG").touch()
    monkeypatch.setattr(images, "CHUNK", 7)
    after = listed(tmp_path)
    assert len(after) == 60 and {key: after[key] for key in before} == before


def test_each_image_is_in_one_part_in_the_order_of_ids(tmp_path):
    for number in range(300):
        (tmp_path / f"x.{number}.webp").touch()
    found = images.find(tmp_path)
    parts = list(found.parts())
    assert sorted(int(i) for _, chosen in parts for i in chosen) == list(range(300))
    assert [part for part, _ in parts] == sorted({part for part, _ in parts})
    for _, chosen in parts:
        keys = [found.ids[int(i)].as_py() for i in chosen]
        assert keys == sorted(keys) and all(key.startswith("x.") for key in keys)


def test_a_flat_folder_of_any_size_is_read_a_piece_at_a_time(tmp_path, monkeypatch):
    """A folder without end: each list comes before the names after it are read."""
    read = count()

    @contextmanager
    def endless(_):
        yield (SimpleNamespace(name=f"{number}.png", is_dir=lambda: False) for number in read)

    monkeypatch.setattr(images, "CHUNK", 5)
    monkeypatch.setattr(images.os, "scandir", endless)
    lists = images.names_below(tmp_path)
    assert next(lists) == [f"{number}.png" for number in range(5)] and next(read) == 5
    assert len(next(lists)) == 5


def test_folders_within_folders_links_and_folders_named_like_images(tmp_path, monkeypatch):
    (tmp_path / "a" / "deep.png").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    for name in ("top.png", "a/in.jpg", "a/deep.png/deeper.bmp", "other/far.webp"):
        (tmp_path / name).touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "link.png").symlink_to(tmp_path / "top.png")
    monkeypatch.setattr(images, "CHUNK", 2)
    lists = list(images.names_below(tmp_path))
    assert sorted(sum(lists, [])) == ["a/deep.png/deeper.bmp", "a/in.jpg", "link.png", "other/far.webp", "top.png"]
    assert [len(names) for names in lists] == [2, 2, 1]


def test_a_folder_that_may_not_be_read_is_passed_over_and_a_broken_disk_is_not(tmp_path, monkeypatch):
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "top.png").touch()
    plain, error = os.scandir, PermissionError(13, "Permission denied")

    def scandir(path):
        if str(path).endswith("lost+found"):
            raise error
        return plain(path)

    monkeypatch.setattr(images.os, "scandir", scandir)
    assert images.find(tmp_path).paths.to_pylist() == ["top.png"]
    error = OSError(5, "Input/output error", str(tmp_path / "lost+found"))
    with pytest.raises(UserError, match=r"lost\+found cannot be read \(Input/output error\); mend that"):
        images.find(tmp_path)


def test_the_search_says_how_many_it_has_found(tmp_path, monkeypatch):
    told = []

    @contextmanager
    def progress(*task):
        told.append(task)
        yield lambda *numbers: told.append(numbers)

    for number in range(5):
        (tmp_path / f"{number}.png").touch()
    monkeypatch.setattr(images, "CHUNK", 2)
    monkeypatch.setattr(images, "progress", progress)
    images.find(tmp_path)
    assert told == [(f"looking through {tmp_path.name}", None, "images"), (2, 2), (4, 4), (5, 5)]
