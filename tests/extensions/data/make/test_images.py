"""Images below a folder, by parts that do not change when the set grows."""

import json
import os
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace

import pytest
from PIL import Image

from extensions.base.errors import UserError
from extensions.data.make import images, pixels
from extensions.data.make.left_out import PassedOver


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


def test_what_is_passed_over_is_counted_and_says_why(tmp_path):
    for name in ("a.png", ".ipynb_checkpoints/a.png", ".Trash-1000/b.jpg", "@eaDir/c.jpg", "sub/.thumbnails/d.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("._a.png", "phone.HEIC", "notes.md", "a.txt"):
        (tmp_path / name).touch()
    (tmp_path / "linked").symlink_to(tmp_path / "sub")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    passed = PassedOver()
    assert images.find(tmp_path, passed=passed).paths.to_pylist() == ["a.png"]
    assert passed.kinds == {"hidden folder": 4, "hidden file": 1, "linked folder": 1, ".heic file": 1}
    passed.lines.seek(0)
    rows = [json.loads(line) for line in passed.lines]
    assert len(rows) == 7 and all(each["reason"] and each["path"] for each in rows)
    assert "1 .md file" in passed.told((".txt",)) and ".txt" not in passed.told((".txt",))


def test_every_kind_that_pillow_reads_is_found(tmp_path):
    names = ["a.gif", "b.tiff", "c.TIF", "d.jfif", "e.avif", "f.jpe", "g.jp2", "h.apng", "i.ppm", "j.tga"]
    for name in names:
        Image.new("RGB", (70, 70)).save(tmp_path / name.replace("jpe", "jpg").replace("apng", "png"))
    (tmp_path / "f.jpg").rename(tmp_path / "f.jpe")
    (tmp_path / "h.png").rename(tmp_path / "h.apng")
    assert sorted(images.find(tmp_path).paths.to_pylist()) == sorted(names)
    for name in names:
        assert pixels.read(tmp_path / name, "white").image.size == (70, 70)


def test_no_images_says_what_there_was(tmp_path):
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "a.heic").touch()
    with pytest.raises(
        UserError, match=r"holds no images .*; passed over: 1 \.heic file, 1 hidden folder; give another"
    ):
        images.find(tmp_path)


HOSTILE = ["a\nb", "a\\b", "\x1b[2J", "..a", "a..", "-x", "a\u2028b", "日本", "sp ace", "'", '"q"']


@pytest.mark.parametrize("kind", ["name", "path"])
def test_ids_are_names_or_paths_whatever_they_hold(tmp_path, kind):
    (tmp_path / "s\nub").mkdir()
    for name in HOSTILE:
        (tmp_path / "s\nub" / f"{name}.x.png").touch()
    found = images.find(tmp_path, kind)
    before = "" if kind == "name" else "s\nub/"
    assert set(found.ids.to_pylist()) == {f"{before}{name}.x" for name in HOSTILE if not name.startswith(".")}


def test_all_clashes_are_listed_at_once(tmp_path):
    for name in ("one/a.png", "two/a.jpg", "one/b.png", "one/b.jpg", "two/c.png", "three/a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"have the same id '[ab]', 1 more ids .*IDS=path"):
        images.require_distinct(images.find(tmp_path), "name", tmp_path / "clashes.txt")
    listed = (tmp_path / "clashes.txt").read_text().splitlines()
    assert listed == ["a\tone/a.png", "a\tthree/a.png", "a\ttwo/a.jpg", "b\tone/b.jpg", "b\tone/b.png"]
    with pytest.raises(UserError, match=r"one/b\.jpg and one/b\.png have the same id 'one/b'; all are in") as error:
        images.require_distinct(images.find(tmp_path, "path"), "path", tmp_path / "clashes.txt")
    assert "IDS=" not in str(error.value)
    (tmp_path / "one" / "b.jpg").unlink()
    images.require_distinct(images.find(tmp_path, "path"), "path", tmp_path / "none.txt")
    assert not (tmp_path / "none.txt").exists()
