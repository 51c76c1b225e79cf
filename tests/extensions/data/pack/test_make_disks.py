"""Packing onto disks that are too small, fill up, or give back something else."""

import os
import shutil
import subprocess

import pytest

from extensions.base.errors import UserError
from extensions.data.pack import header, make, write
from tests.helpers.pack_cases import TWO_RECORDS, rows, wish


def test_a_record_that_reads_back_otherwise(data_set, monkeypatch):
    plain = write.sync

    def bad_disk(file):
        plain(file)
        os.pwrite(file.fileno(), b"\xff", 17)

    monkeypatch.setattr(write, "sync", bad_disk)
    with pytest.raises(UserError, match=r"record 0 of .*\.bin reads back other than .*nothing was deleted"):
        make.make(data_set.index, wish(data_set), 1)
    assert not list((data_set.folder / "pack").glob("*.bin"))


def test_a_disk_that_is_too_small_says_what_is_needed(data_set, small_disk):
    with pytest.raises(UserError, match=r"0\.0\d MB free, the pack \(12 images, float32, .*\) needs 0\.1\d MB"):
        make.make(data_set.index, make.Wish(data_set.data, small_disk / "pack"), 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_disk_that_fills_up_meanwhile(data_set, small_disk, monkeypatch, jobs):
    monkeypatch.setattr(make, "require_room", lambda *_: None)
    asked = make.Wish(data_set.data, small_disk / "pack", shard_bytes=TWO_RECORDS)
    with pytest.raises(UserError, match=r"\.bin cannot be written \(No space left on device\); make room") as error:
        make.make(data_set.index, asked, jobs)
    assert "\n" not in str(error.value)
    whole = sorted(path.name for path in asked.folder.glob("*.bin"))
    assert whole and not list(asked.folder.glob(".*.part.bin")), "finished shards stay, half a shard does not"
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert make.make(data_set.index, asked, jobs).images == 12
    assert len(rows(data_set, asked.folder)) == 12


def test_a_disk_that_is_full_before_the_first_shard(data_set, small_disk):
    filler = fill(small_disk)
    asked = make.Wish(data_set.data, small_disk / "pack")
    with pytest.raises(UserError, match=r"pack cannot be written \(No space left on device\); make room") as error:
        make.make(data_set.index, asked, 1)
    assert "\n" not in str(error.value)
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    assert make.make(data_set.index, asked, 1).images == 12


@pytest.mark.disk_size("1m")
@pytest.mark.parametrize("room", [0, 1])
def test_a_disk_that_is_full_after_the_last_shard(data_set, small_disk, monkeypatch, room):
    """room: pages that are left, for keys.arrow and not for pack.json."""
    plain = make.finish
    (data_set.data / "id8.npz").write_bytes(b"broken")
    asked = make.Wish(data_set.data, small_disk / "pack", bad="skip")

    def finish(*words):
        fill(small_disk, room)
        return plain(*words)

    monkeypatch.setattr(make, "finish", finish)
    with pytest.raises(UserError, match=r"pack cannot be written \(No space left on device\); make room") as error:
        make.make(data_set.index, asked, 1)
    assert "\n" not in str(error.value) and not (asked.folder / "pack.json").exists()
    (small_disk / "filler").unlink()
    monkeypatch.setattr(make, "finish", plain)
    monkeypatch.setattr(write, "write", lambda *_: pytest.fail("a shard was written again"))
    assert make.make(data_set.index, asked, 1).left_out == 1
    assert len(header.keys(asked.folder, header.read(asked.folder))) == 11


def fill(folder, pages=0):
    """A file that takes all room but some pages."""
    filler = folder / "filler"
    free = shutil.disk_usage(folder).free - pages * os.sysconf("SC_PAGE_SIZE")
    filler.write_bytes(b"x" * free)
    return filler
