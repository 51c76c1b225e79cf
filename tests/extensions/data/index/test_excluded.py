"""EXCLUDE=: listed ids are left out, counted, and the index knows with which lists it was made."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data import index
from extensions.data.index import __main__ as command
from extensions.data.index import build as builder
from extensions.data.index import excluded, parts
from extensions.data.index.build import build
from extensions.data.index.layout import beside, index_of
from extensions.data.index.policies import Policies
from extensions.data.index.reader import Index
from tests.helpers.index_cases import entry


@pytest.fixture
def meta(written):
    return written([(key, entry()) for key in "abcdef"], latents="abcdef")


@pytest.fixture
def listed(tmp_path):
    path = tmp_path / "corrupt.txt"
    path.write_text("b\nd\n")
    return path


def make(*words) -> None:
    assert command.main([str(word) for word in words]) == 0


def keys(path) -> str:
    found = Index(path)
    return "".join(found[row].key for row in range(len(found)))


def test_listed_ids_are_left_out_counted_and_named(meta, listed, tmp_path, capsys):
    listed.write_text("b\n\nd\r\nb\nelsewhere\nÄ\n", encoding="utf-8")
    make(meta, f"--data={tmp_path / 'latents'}", f"--exclude={listed}")
    said = capsys.readouterr().out
    assert "4 images (left out: 2 listed in EXCLUDE); 2 listed ids are not in the metadata" in said
    assert keys(index_of(meta)) == "acef"
    report = json.loads(beside(index_of(meta), "report.json", hidden=False).read_text())
    assert report["left_out"]["excluded"] == 2 and report["counts"]["not_in_metadata"] == 2
    assert report["examples"]["excluded"] == ["b", "d"]
    assert report["excluded"][0]["path"] == str(listed) and report["excluded"][0]["ids"] == 5


def test_what_is_wrong_with_a_listed_id_does_not_count(written, listed, tmp_path):
    """check-data lists ids whose file is missing, too; and one bad entry must not refuse the rest."""
    pairs = [("a", entry()), ("b", entry(7)), ("b", entry()), ("d", entry(tags="", caption="")), ("c", entry())]
    path = written(pairs, latents="ac")
    build([path], index_of(path), tmp_path / "latents", Policies(empty_text="refuse"), [listed])
    assert keys(index_of(path)) == "ac"
    assert Index(index_of(path)).facts.left_out == {"excluded": 3}


def test_the_content_decides_the_fingerprint(meta, written, listed):
    made = build([meta], index_of(meta), None, Policies(), [listed])
    plain = written([(key, entry()) for key in "acef"], "plain.json")
    without = build([plain], index_of(plain), None, Policies())
    assert (made.fingerprint, made.keys_fingerprint) == (without.fingerprint, without.keys_fingerprint)


def test_the_same_lists_leave_the_index_and_others_make_it_again(meta, listed, tmp_path, monkeypatch, capsys):
    built = []
    monkeypatch.setattr(command, "build", lambda *words: built.append(words) or builder.build(*words))
    make(meta, f"--exclude={listed}")
    make(meta, f"--exclude={listed}")
    copy = shutil.copy(listed, tmp_path / "a copy.txt")
    make(meta, f"--exclude={copy}")
    assert len(built) == 1 and "made again" not in capsys.readouterr().out
    listed.write_text("b\n")
    make(meta, f"--exclude={listed}")
    assert len(built) == 2 and keys(index_of(meta)) == "acdef"
    make(meta, f"--exclude='{copy}' {listed}")
    assert len(built) == 3 and keys(index_of(meta)) == "acef"
    make(meta)
    assert len(built) == 4 and keys(index_of(meta)) == "abcdef"
    assert capsys.readouterr().out.count("is made again: the lists of ids to leave out (EXCLUDE=) are others") == 3


def test_a_launch_that_names_the_metadata_uses_it_and_says_so(meta, listed, tmp_path, monkeypatch, capsys):
    make(meta, f"--data={tmp_path / 'latents'}", f"--exclude={listed}")
    capsys.readouterr()
    line = f"meta_lat.json.index.arrow leaves out 2 images that are listed in {listed}\n"
    for named in (meta, index_of(meta)):
        assert len(index.open_for(named, tmp_path / "latents")) == 4 and capsys.readouterr().out == line
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert len(index.open_for(meta, None)) == 4 and capsys.readouterr().out == ""
    listed.unlink()  # a report's folder may be removed
    assert len(index.open_for(meta, None)) == 4


def test_a_list_that_changed_is_refused_by_a_launch(meta, listed, tmp_path):
    make(meta, f"--exclude={listed}")
    listed.write_text("b\nd\ne\n")
    for named in (meta, index_of(meta)):
        with pytest.raises(
            UserError, match="corrupt.txt changed after .*index.arrow was made without its ids"
        ) as told:
            index.open_for(named, None)
        assert "\n" not in str(told.value) and "EXCLUDE=" in str(told.value)
    copy = listed.with_name("copy.txt")
    copy.write_text("b\nd\n")
    make(meta, f"--exclude={copy}")
    assert len(index.open_for(meta, None)) == 4, "made with the copy, the other list is nothing to it"
    os.utime(copy, ns=(5, 5))
    assert len(index.open_for(meta, None)) == 4, "the content counts"


def test_metadata_that_changed_are_indexed_without_the_ids_again(meta, listed, written, capsys):
    make(meta, f"--exclude={listed}")
    written([(key, entry()) for key in "abcdefg"])
    index.open_for(meta, None)
    assert keys(index_of(meta)) == "acefg" and "leaves out 2 images" in capsys.readouterr().out
    written([(key, entry()) for key in "abc"])
    listed.unlink()
    with pytest.raises(UserError, match=r"no list of ids can be read at .*corrupt.txt \(No such file"):
        index.open_for(meta, None)
    assert keys(index_of(meta)) == "acefg"


def test_a_bad_list_is_told_in_one_line_before_anything_is_read(meta, tmp_path, monkeypatch):
    monkeypatch.setattr(parts, "entries", lambda *_: pytest.fail("read"))
    for path, why in ((tmp_path / "none.txt", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UserError, match=why) as told:
            command.main([str(meta), f"--exclude={path}"])
        assert "\n" not in str(told.value) and "corrupt.txt of make check-data" in str(told.value)


def test_a_list_of_a_million_takes_some_bytes_an_id(tmp_path):
    import tracemalloc

    path = tmp_path / "long.txt"
    path.write_text("".join(f"{number}\n" for number in range(1_000_000)))
    tracemalloc.start()
    lists, found = excluded.read([path])
    assert len(found) == lists[0].ids == 1_000_000 and (found[1:] > found[:-1]).all()
    assert tracemalloc.get_traced_memory()[1] < 40 * len(found)
    tracemalloc.stop()


def test_a_damaged_index_is_made_again_without_the_listed_ids(meta, listed, capsys):
    make(meta, f"--exclude={listed}")
    path = index_of(meta)
    path.write_bytes(path.read_bytes()[:-100])
    assert len(index.open_for(meta, None)) == 4 and keys(path) == "acef"
    listed.unlink()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="no list of ids can be read"):
        index.open_for(meta, None)


def test_from_the_report_of_a_check_to_an_index_without_what_it_found(written, tmp_path):
    """check-data's own list, passed on as it is."""
    data = tmp_path / "latents"
    path = written([(key, entry()) for key in ("a b", "c", "d")], latents=["a b"])
    program = [sys.executable, "-m", "extensions.data.make.check", path, data, "--out", tmp_path / "out"]
    assert subprocess.run(program, cwd=ROOT, capture_output=True, check=False).returncode == 1
    assert (tmp_path / "out" / "corrupt.txt").read_text() == "a b\nc\nd\n"
    (tmp_path / "out" / "corrupt.txt").write_text("a b\nc\n")
    make(path, f"--exclude={tmp_path / 'out' / 'corrupt.txt'}")
    assert keys(index_of(path)) == "d"
