"""Snapshots over a run: when they are due, which are of one run, and that damage is found."""

import json
import os

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from extensions.averages import profiles, shares, snapshots
from extensions.averages.profiles import Exponential, Power
from extensions.averages.ranks import Ranks
from extensions.averages.tracks import ANCHOR
from extensions.base.errors import UserError
from tests.helpers.averaging import alone, models, ranks_of, walk

ALL = [Power(0.05), Power(0.10), Exponential(0.9)]


def keeper(folder):
    folder.mkdir(exist_ok=True)
    return snapshots.Keeper(folder, Ranks(alone()), alone())


def kept(folder, *steps, begin=0, launch=None, seed=0):
    """Snapshots after these steps of a run that begins, or goes on, at `launch`."""
    of, made = models(torch.bfloat16), keeper(folder)
    snapshots.begin_launch(folder, begin if launch is None else launch)
    tracks = ranks_of(of, 1, ALL, begin)[0]
    for step in walk(of, max(steps) - begin, seed):
        tracks.update(begin + step)
        if begin + step in steps:
            made.snapshot(tracks, 1)
    return tracks


@given(some.integers(0, 500), some.integers(1, 5000), some.integers(1, 40), some.integers(1, 30))
def test_they_are_spread_over_the_run_and_are_updates(begin, steps, count, every):
    space = snapshots.spacing(begin, begin + steps, count, every)
    marks = list(snapshots.marks(space, steps))
    assert space % every == 0 and len(marks) <= count
    updates, before, taken = profiles.updates(begin, begin + steps, every), 0, []
    for time in updates:
        taken += [time] if profiles.due(marks, before, time) else []
        before = time
    assert len(taken) <= count
    gaps = [later - earlier for earlier, later in zip([0, *taken], taken, strict=False)]
    assert all(gap <= space + every for gap in gaps)


def test_a_snapshot_is_what_was_tracked_to_a_2048th_of_its_way(tmp_path):
    tracks = kept(tmp_path, 3, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "began00000000", "launches.json", "step00000003", "step00000005",
    ]  # fmt: skip
    found = snapshots.usable(tmp_path)
    assert [each.step for each in found] == [3, 5] and found[1].facts["every"] == 1
    with shares.Shares(found[1]) as read, shares.Shares(shares.read(tmp_path / "began00000000")) as anchor:
        for index, piece in enumerate(tracks.own):
            assert torch.equal(anchor.get(ANCHOR, piece.place), tracks.anchors[index])
            difference = tracks.differences["0.10"][index]
            left = read.get("0.10", piece.place) - difference
            assert left.abs().max() <= difference.abs().max() / 2048 and left.norm() < 4e-4 * difference.norm()
        assert not read.all("decay0.9")  # of no use for other lengths
    files = [path.stat().st_size for path in (tmp_path / "step00000005").iterdir() if path.suffix == ".safetensors"]
    elements = sum(piece.place.count for piece in tracks.own)
    assert sum(files) < snapshots.bytes_of(elements) + 1000


def test_what_was_kept_after_the_state_that_a_run_went_back_to_is_not_of_it(tmp_path):
    kept(tmp_path, 2, 4, 6, 8)
    assert [each.step for each in snapshots.usable(tmp_path)] == [2, 4, 6, 8]
    snapshots.begin_launch(tmp_path, 5)
    assert [each.step for each in snapshots.usable(tmp_path)] == [2, 4]
    snapshots.begin_launch(tmp_path, 7)
    assert [each.step for each in snapshots.usable(tmp_path)] == [2, 4]
    kept(tmp_path, 6, launch=5, seed=0)
    assert [each.step for each in snapshots.usable(tmp_path)] == [2, 4, 6]


def test_a_run_that_began_anew_has_its_own_weights_to_measure_from(tmp_path):
    torch.manual_seed(0)
    kept(tmp_path, 4, 6)
    torch.manual_seed(1)
    second = kept(tmp_path, 3)
    found = snapshots.usable(tmp_path)
    assert [each.step for each in found] == [3]
    with shares.Shares(shares.read(tmp_path / "began00000000")) as anchor:
        assert torch.equal(anchor.get(ANCHOR, second.own[0].place), second.anchors[0])


def test_averages_that_began_later_are_not_mixed_with_earlier_ones(tmp_path):
    kept(tmp_path, 2, 4)
    kept(tmp_path, 6, 8, begin=4, launch=4)
    assert [each.step for each in snapshots.usable(tmp_path)] == [6, 8]


def damage_description(path):
    text = (path / shares.DESCRIBED).read_text()
    (path / shares.DESCRIBED).write_text(text.replace('"every": 1', '"every": 2'))


def cut(path):
    os.truncate(path / "share-0.safetensors", 40)


def flip(path):
    content = bytearray((path / "share-0.safetensors").read_bytes())
    content[-3] ^= 4
    (path / "share-0.safetensors").write_bytes(content)


def lose(path):
    (path / "share-0.safetensors").unlink()


def garble(path):
    (path / shares.DESCRIBED).write_text(json.dumps({"files": 3}))


@pytest.mark.parametrize("harm", [damage_description, cut, flip, lose, garble])
def test_damage_is_found(tmp_path, harm):
    tracks = kept(tmp_path, 2, 4)
    harm(tmp_path / "step00000002")
    with pytest.raises(UserError, match=r"step00000002 is damaged .*; remove it"):
        for each in snapshots.usable(tmp_path):
            with shares.Shares(each) as read:
                for piece in tracks.own:
                    read.get("0.05", piece.place), read.get("0.10", piece.place)


def test_a_damaged_list_of_launches_is_told(tmp_path):
    kept(tmp_path, 2)
    (tmp_path / snapshots.LAUNCHES).write_text("[1, 'x']")
    with pytest.raises(UserError, match="launches.json is damaged; restore it"):
        snapshots.usable(tmp_path)


def test_a_full_disk_is_told_in_one_line_and_leaves_what_was_there(tmp_path, monkeypatch):
    kept(tmp_path, 2)
    made, tracks = keeper(tmp_path), ranks_of(models(), 1, ALL)[0]
    monkeypatch.setattr(snapshots, "require_room", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match="no snapshot of the averages: .*No space left; make room, or keep fewer"):
        made.snapshot(tracks, 1)
    assert [each.step for each in snapshots.usable(tmp_path)] == [2]
