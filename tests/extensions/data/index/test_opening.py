"""What a run names becomes an index that is current; of several processes one builds."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data import index
from extensions.data.index import opening, seal
from extensions.data.index.build import build
from extensions.data.index.layout import FACTS, beside, index_of
from extensions.data.index.policies import Policies
from tests.helpers.index_cases import entry


@pytest.fixture
def meta(written):
    return written([(key, entry()) for key in "abc"], latents="abcd")


@pytest.fixture
def latents(meta, tmp_path):
    os.utime(tmp_path / "latents", ns=(10**18, 10**18))
    return tmp_path / "latents"


def test_the_first_start_builds_and_the_next_opens(meta, latents, monkeypatch, capsys):
    first = index.open_for(str(meta), str(latents))
    assert len(first) == 3 and "meta_lat.json.index.arrow is not there: building it once" in capsys.readouterr().out
    monkeypatch.setattr(opening, "build", lambda *_: pytest.fail("built again"))
    monkeypatch.setattr(opening.checked, "scan", lambda *_: pytest.fail("scanned again"))
    assert index.open_for(meta, latents).fingerprint == first.fingerprint and capsys.readouterr().out == ""
    assert index.ensure(meta, latents) == first.path


@pytest.mark.parametrize("change", ["content", "time"])
def test_metadata_that_changed_are_indexed_again(written, meta, latents, change, capsys):
    before = index.open_for(meta, latents)
    if change == "content":
        written([(key, entry()) for key in "abcd"])
    else:
        os.utime(meta, ns=(5, 5))
    after = index.open_for(meta, latents)
    assert len(after) == (4 if change == "content" else 3) and len(before) == 3, "who reads the old one keeps it"
    assert "is not of meta_lat.json as it is now: building it once" in capsys.readouterr().out


@pytest.mark.parametrize("damage", ["truncated", "version", "other sources"])
def test_an_index_that_cannot_be_used_is_made_again_where_its_metadata_are(meta, latents, written, damage, capsys):
    path = index.open_for(meta, latents).path
    spoil(path, damage, written)
    assert len(index.open_for(meta, latents)) == 3
    assert "building it once" in capsys.readouterr().out


def spoil(path, damage, written=None) -> None:
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-100])
    elif damage == "version":
        path.write_bytes(path.read_bytes().replace(seal.MARK, b"x" * len(seal.MARK)))
        with pytest.raises(opening.Unusable, match="no index of this version"):
            opening.Index(path)
    else:
        two = written([("d", entry())], "two.json")
        build([path.with_name("meta_lat.json"), two], path, None, Policies())


@pytest.mark.parametrize("damage", ["truncated", "version"])
def test_an_index_that_is_named_itself_is_refused_in_one_line(meta, latents, damage):
    path = index.open_for(meta, latents).path
    assert len(index.open_for(path, latents)) == 3
    spoil(path, damage)
    with pytest.raises(UserError, match="make it again") as error:
        index.open_for(path, latents)
    assert "\n" not in str(error.value)


def test_a_named_index_goes_without_its_metadata_but_not_with_others(meta, latents, tmp_path, written):
    path = index.open_for(meta, latents).path
    moved = tmp_path / "elsewhere" / path.name
    moved.parent.mkdir()
    shutil.copy(path, moved)
    meta.unlink()
    assert len(index.open_for(moved, latents)) == 3
    written([("d", entry())])
    for named in (path, moved):
        with pytest.raises(UserError, match="meta_lat.json changed after .*index.arrow was made of it"):
            index.open_for(named, latents)


def test_metadata_that_are_not_there(meta, latents):
    path = index.open_for(meta, latents).path
    meta.unlink()
    with pytest.raises(UserError, match=f"no such metadata file: {meta}; its index is there: name {path}"):
        index.open_for(meta, latents)
    path.unlink()
    with pytest.raises(UserError, match=f"no such metadata file: {meta}$"):
        index.open_for(meta, latents)


def test_latents_are_looked_for_with_an_index_that_is_there(meta, latents):
    index.open_for(meta, latents)
    (latents / "b.npz").unlink()
    with pytest.raises(UserError, match=r"1 of 3 ids have no latents .* b\.npz"):
        index.open_for(meta, latents)
    with pytest.raises(UserError, match="no such folder"):
        index.open_for(meta, latents / "none")


def test_what_is_left_out_on_purpose_stays_left_out(written, latents, capsys):
    meta = written([("a", entry()), ("a", entry()), ("gone", entry())])
    with pytest.raises(UserError, match="ids that occur again"):
        index.open_for(meta, latents)
    build([meta], index_of(meta), latents, Policies("first", "skip"))
    assert [index.open_for(meta, latents)[0].key] == ["a"] and len(index.open_for(meta, latents)) == 1


def test_a_folder_that_cannot_be_written(meta, latents, monkeypatch):
    plain = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: plain(path, mode) and mode != os.W_OK)
    with pytest.raises(UserError, match="cannot be written.*OUT="):
        index.open_for(meta, latents)
    monkeypatch.setattr(os, "access", plain)
    index.open_for(meta, latents)
    monkeypatch.setattr(os, "access", lambda path, mode: plain(path, mode) and mode != os.W_OK)
    (latents / "new.npz").touch()
    assert len(index.open_for(meta, latents)) == 3, "what is there can be read, and looked through without a lock"


RANK = """
import sys, time
from extensions.data import index
from extensions.data.index import opening
plain = opening.build
def slow(*arguments):
    print("BUILT", flush=True)
    time.sleep(1.5)
    return plain(*arguments)
opening.build = slow
print(len(index.open_for(*sys.argv[1:])))
"""


def test_of_four_processes_one_builds_and_the_others_wait_and_say_so(meta, latents):
    command = [sys.executable, "-c", RANK, str(meta), str(latents)]
    ranks = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = [rank.communicate()[0] for rank in ranks]
    assert all(rank.returncode == 0 for rank in ranks) and all(out.splitlines()[-1] == "3" for out in said)
    assert sum("BUILT" in out for out in said) == 1
    builder = next(out for out in said if "BUILT" in out)
    assert "waiting" not in builder and sum(out.count("waiting for another process") for out in said) <= 3
    assert any("waiting for another process that builds the index" in out for out in said)


def test_the_facts_are_in_the_file_itself(meta, latents):
    import pyarrow as pa

    path = index.open_for(meta, latents).path
    facts = json.loads(pa.ipc.open_file(path).schema.metadata[FACTS])
    assert facts["rows"] == 3 and facts["sources"][0]["bytes"] == meta.stat().st_size
    assert not beside(path, "part").exists()
