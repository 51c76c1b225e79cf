"""Everything that is left out has its line and its reason; every id of the list comes back."""

import json
from collections import Counter

from extensions.data import ids
from extensions.data.make import left_out
from extensions.data.make.left_out import PassedOver


def test_lists_and_counts(tmp_path):
    names = ["a", "b\nc", '"d"', "sub/e"]
    for number in range(2):
        rows = [
            left_out.row(f"{key}.png", key, f"kind {number}", "why\x1b") for key in names[2 * number : 2 * number + 2]
        ]
        (tmp_path / str(number)).write_text("".join(rows))
    passed = PassedOver()
    passed.add("x/.hidden", "hidden folder", "hidden")
    kinds = left_out.write(tmp_path, [tmp_path / "0", tmp_path / "1"], passed)
    assert kinds == {"kind 0": 2, "kind 1": 2}
    with open(tmp_path / "left_out.txt", "rb") as file:
        assert [key.decode() for key in ids.keys_of(tmp_path, file)] == names
    rows = [json.loads(line) for line in (tmp_path / "left_out.jsonl").read_text().splitlines()]
    assert [each["id"] for each in rows] == [*names, None] and rows[-1]["path"] == "x/.hidden"
    assert "\x1b" not in (tmp_path / "left_out.jsonl").read_text()


def test_files_are_counted_by_their_suffix_and_known_images_listed(monkeypatch):
    passed = PassedOver()
    for name in ("a.HEIC", "b.heic", "c.md", "d", "e.npz", "f.txt", "g.tXt"):
        passed.file(f"x/{name}")
    assert passed.kinds == {".heic file": 2}
    assert passed.told([".txt"]) == "2 .heic files, 1 .md file, 1 .npz file, 1 nameless file"
    monkeypatch.setattr(left_out, "SUFFIXES", 6)
    for number in range(100):
        passed.file(f"x.{number}")
    assert len(passed.others) <= 6


def test_many_take_no_memory(monkeypatch):
    monkeypatch.setattr(left_out, "IN_MEMORY", 100)
    passed = PassedOver()
    for number in range(100):
        passed.add(str(number), "hidden file", "hidden")
    assert passed.lines._rolled and passed.told() == "100 hidden files"


def test_one_and_many():
    counts = Counter({"hidden folder": 1, "too small": 3, ".heic file": 2})
    assert left_out.counted(counts) == "3 too small, 2 .heic files, 1 hidden folder"
