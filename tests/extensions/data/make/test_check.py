"""Every latent is opened; what is bad is listed with its reason and stays where it is."""

import json
import subprocess
import sys

import numpy as np
import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data.make import check
from extensions.data.pack import make, places
from extensions.data.pack.store import PackedStore
from tests.helpers import npz_sets


def checked(data_set, folder, jobs=1):
    out = data_set.folder / "out"
    facts = check.check(data_set.index, folder, out, jobs)
    report = json.loads((out / "report.json").read_text())
    assert facts == {name: value for name, value in report.items() if name != "bad"}
    assert (out / "corrupt.txt").read_text().split() == [each["id"] for each in report["bad"]]
    return report


def test_a_good_set(data_set):
    report = checked(data_set, data_set.data)
    assert (report["images"], report["good"], report["corrupt"], report["missing"]) == (12, 12, 0, 0)
    assert report["bad"] == [] and report["pack"] is False


@pytest.mark.parametrize("jobs", [1, 2])
def test_bad_npz_are_listed_and_left_alone(data_set, jobs, monkeypatch):
    monkeypatch.setattr(check, "AT_ONCE", 5)
    data = data_set.data
    (data / "id1.npz").write_bytes((data / "id1.npz").read_bytes()[:-40])
    npz_sets.write(data, "id5", np.full((4, 32, 24), np.nan, np.float32))
    npz_sets.write(data, "id7", npz_sets.latents_of(7, (256, 192)))
    (data / "id11.npz").unlink()
    before = {path.name: path.read_bytes() for path in data.iterdir()}
    report = checked(data_set, data, jobs)
    found = {each["id"]: (each["kind"], each["reason"]) for each in report["bad"]}
    assert {key: kind for key, (kind, _) in found.items()} == {
        "id1": "corrupt", "id5": "corrupt", "id7": "corrupt", "id11": "missing"
    }  # fmt: skip
    assert "NaN" in found["id5"][1] and "train_resolution 128x128" in found["id7"][1]
    assert (report["good"], report["corrupt"], report["missing"]) == (8, 3, 1)
    assert {path.name: path.read_bytes() for path in data.iterdir()} == before


def test_bad_records_of_a_pack(data_set):
    folder = data_set.folder / "pack"
    (data_set.data / "id8.npz").write_bytes(b"broken")
    pack = make.make(data_set.index, make.Wish(data_set.data, folder, bad="skip"), 1)
    place = int(places.located(folder, pack, data_set.index)[6])
    shard, record = places.split(place)
    with open(folder / pack.shards[shard].file, "r+b") as file:
        file.seek(record * pack.layout(shard).record_bytes + 50)
        file.write(b"\0\0\0\0")
    report = checked(data_set, folder)
    assert {each["id"]: each["kind"] for each in report["bad"]} == {"id6": "corrupt", "id8": "missing"}
    assert report["pack"] and "its checksum is wrong" in str(report["bad"])


@pytest.mark.disk_size("4k")
def test_a_full_disk_is_one_line_and_keeps_what_was_found(data_set, small_disk):
    for number in range(12):
        (data_set.data / f"id{number}.npz").write_bytes(b"")
    with pytest.raises(
        UserError, match=r"out cannot be written \(No space left on device\); make room.*OUT"
    ) as error:
        check.check(data_set.index, data_set.data, small_disk / "out", 1)
    assert "\n" not in str(error.value)
    left = sorted(path.name for path in (small_disk / "out").iterdir())
    assert left == ["corrupt.txt"] and "id0" in (small_disk / "out" / "corrupt.txt").read_text().split()


def test_records_are_read_in_the_order_of_the_disk(data_set):
    folder = data_set.folder / "pack"
    make.make(data_set.index, make.Wish(data_set.data, folder), 1)
    read = [place for task in check.tasks_of(data_set.index, folder) for place in task.places]
    assert read == sorted(PackedStore(folder, data_set.index).places.tolist())


def program(*words):
    command = [sys.executable, "-m", "extensions.data.make.check", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_exit_code_says_whether_some_are_bad(data_set):
    done = program(data_set.meta, data_set.data, "--out", data_set.folder / "one")
    assert done.returncode == 0 and done.stdout.startswith("12 images: 12 good, 0 corrupt, 0 missing; ")
    (data_set.data / "id3.npz").write_bytes(b"")
    done = program(data_set.meta, data_set.data, "--out", data_set.folder / "two")
    assert done.returncode == 1 and "11 good, 1 corrupt" in done.stdout and "corrupt.txt" in done.stdout
    done = program(data_set.meta, data_set.data, "--out", data_set.folder / "two")
    assert done.returncode == 2 and done.stderr.startswith("error: the report's folder ")


def test_a_set_with_missing_files_needs_no_index_before(data_set):
    (data_set.data / "id3.npz").unlink()
    data_set.index.path.unlink()
    done = program(data_set.meta, data_set.data, "--out", data_set.folder / "one")
    assert done.returncode == 1 and "11 good, 0 corrupt, 1 missing" in done.stdout
    done = program(data_set.index.path, data_set.data, "--out", data_set.folder / "two")
    assert done.returncode == 1 and (data_set.folder / "two" / "corrupt.txt").read_text() == "id3\n"


def test_what_cannot_be_checked_at_all(data_set):
    with pytest.raises(UserError, match="no such folder of latents"):
        checked(data_set, data_set.folder / "none")
    (data_set.folder / "pack" / "unfinished").mkdir(parents=True)
    with pytest.raises(UserError, match="unfinished pack"):
        checked(data_set, data_set.folder / "pack")
    assert not (data_set.folder / "out").exists()
