"""The first pass: everything kept, and an interruption costs one part at most."""

import os

import pytest

from extensions.base.errors import UserError
from extensions.data.index import parts
from extensions.data.index.layout import beside, index_of
from tests.helpers.index_cases import entry

pytestmark = pytest.mark.usefixtures("small_parts")


def rows_of(read) -> list[tuple]:
    return [tuple(row.values()) for part in read for row in part.to_pylist()]


def keys_of(read) -> list[str]:
    return [row[0] for row in rows_of(read)]


def test_all_entries_of_all_sources_in_parts_of_the_same_size(written):
    one = written([(str(i), entry()) for i in range(5)])
    two = written('{"image_path": "a/5.png", "caption": "x", "image_size": [8, 8]}\n' * 6, "more.jsonl")
    read = parts.read([one, two], index_of(one))
    assert [len(part) for part in read] == [4, 4, 3]
    assert keys_of(read) == [*"01234", *"555555"]
    assert rows_of(read)[5][:5] == ("5", "", "x", 8, 8)
    assert rows_of(read)[5] == rows_of(read)[6] != rows_of(read)[4]


def test_rows_that_differ_in_one_thing_have_other_hashes(written):
    rows = [
        entry(), entry(width=128), entry(tags="1ca", caption="tA cat."), entry(tags="", caption="1catA cat."),
        entry(caption=""),
    ]  # fmt: skip
    path = written([("1", row) for row in rows])
    read = parts.read([path], index_of(path))
    assert len(set(read.column("row_hash").tolist())) == len(rows) and len(set(read.column("key_hash").tolist())) == 1


def test_a_bad_size_is_kept_as_zero_and_named(written):
    path = written([("1", entry()), ("2", entry(width=7))])
    read = parts.read([path], index_of(path))
    assert read.column("width").tolist() == [64, 0]
    assert read.done.bad_sizes == [
        "meta_lat.json: train_resolution of '2' is [7, 64]; it must be [width, height], multiples of 8"
    ]


class Killed(Exception):
    """What stands for a kill: nothing is caught or cleaned up after it."""


@pytest.mark.parametrize("after", [1, 2, 3])
def test_an_interrupted_pass_goes_on_where_its_last_part_ended(written, monkeypatch, capsys, after):
    one, two = (
        written([(f"a{i}", entry()) for i in range(6)]),
        written([(f"b{i}", entry(7)) for i in range(9)], "b.json"),
    )
    plain, count = parts.finish_part, 0

    def killed(*arguments):
        nonlocal count
        count += 1
        if count > after:
            raise Killed
        plain(*arguments)

    monkeypatch.setattr(parts, "finish_part", killed)
    with pytest.raises(Killed):
        parts.read([one, two], index_of(one))
    monkeypatch.setattr(parts, "finish_part", plain)
    seen, plain_row = [], parts.row_of
    monkeypatch.setattr(parts, "row_of", lambda sample: seen.append(sample.key) or plain_row(sample))
    read = parts.read([one, two], index_of(one))
    wanted = [*(f"a{i}" for i in range(6)), *(f"b{i}" for i in range(9))]
    assert keys_of(read) == wanted and seen == wanted[4 * after :]
    assert f"going on after {4 * after} images" in capsys.readouterr().out
    assert len(read.done.bad_sizes) == 9, "examples are neither lost nor doubled"
    assert keys_of(parts.read([one, two], index_of(one))) == wanted and seen == wanted[4 * after :], "all was there"


def test_a_part_that_is_there_but_not_noted_is_written_again(written, monkeypatch):
    path = written([(str(i), entry()) for i in range(9)])
    plain, count = parts.write_text, 0

    def killed(*arguments):
        nonlocal count
        count += 1
        if count == 2:
            raise Killed
        plain(*arguments)

    monkeypatch.setattr(parts, "write_text", killed)
    with pytest.raises(Killed):
        parts.read([path], index_of(path))
    assert (beside(index_of(path), "part") / "000001.arrow").exists()
    assert keys_of(parts.read([path], index_of(path))) == [str(i) for i in range(9)]


@pytest.mark.parametrize("change", ["source", "progress", "order"])
def test_other_sources_or_a_broken_note_begin_anew(written, change):
    path, other = written([("1", entry())]), written([("9", entry())], "b.json")
    folder = beside(index_of(path), "part")
    parts.read([path, other], index_of(path))
    sources = [path, other]
    if change == "source":
        written([("2", entry())])
        os.utime(path, ns=(5, 5))
    elif change == "progress":
        (folder / parts.PROGRESS).write_text('{"version"')
    else:
        sources.reverse()
    (folder / "000007.arrow").touch()
    assert keys_of(parts.read(sources, index_of(path))) == {"source": ["2", "9"], "order": ["9", "1"]}.get(
        change, ["1", "9"]
    )
    assert not (folder / "000007.arrow").exists()


def test_a_source_that_changes_while_it_is_read(written, monkeypatch):
    path = written([("1", entry())])
    plain = parts.row_of

    def touched(sample):
        os.utime(path, ns=(5, 5))
        return plain(sample)

    monkeypatch.setattr(parts, "row_of", touched)
    with pytest.raises(UserError, match="meta_lat.json changed while it was indexed"):
        parts.read([path], index_of(path))


@pytest.mark.parametrize(("name", "content"), [("a.json", "{}"), ("a.json", " {\n} \n"), ("a.jsonl", "\n\n")])
def test_a_file_without_images(written, name, content):
    path = written(content, name)
    with pytest.raises(UserError, match="lists no images"):
        parts.read([path], index_of(path))
