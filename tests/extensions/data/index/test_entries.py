"""Any JSON as a stream of entries, from any entry on; malformed files in one line that says where."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.index import entries as module
from extensions.data.index.entries import entries

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(max_size=12)
    | st.sampled_from(['"}', "{", "]\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
OBJECTS = st.lists(
    st.tuples(st.text(max_size=6), st.dictionaries(st.text(max_size=4), VALUES, max_size=4)), min_size=1, max_size=8
)
STYLES = st.sampled_from([{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}])


def text_of(pairs, style) -> str:
    """A JSON object of pairs; a dictionary would lose ids that occur twice."""
    gap = "\r\n\t " if style.get("indent") else ""
    separator = "," if "separators" in style else " , "
    return (
        f"{gap}{{{gap}"
        + separator.join(f"{json.dumps(key, **style)}{gap}:{gap}{json.dumps(value, **style)}" for key, value in pairs)
        + f"{gap}}}{gap}"
    )


@given(OBJECTS, STYLES, st.integers(1, 40))
def test_all_pairs_in_order_from_any_of_them_on_whatever_the_block(tmp_path_factory, pairs, style, block):
    path = tmp_path_factory.mktemp("json") / "meta.json"
    path.write_text(text_of(pairs, style), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", block)
        read = list(entries(path))
        assert [(key, value) for key, value, _ in read] == pairs
        for number, (_, _, end) in enumerate(read, start=1):
            assert list(entries(path, end)) == read[number:]


@pytest.mark.parametrize("block", [1, 7, 1 << 20])
@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("", "not a JSON object"),
        ("not json", "not a JSON object"),
        ("[]", "not a JSON object"),
        ("{", "no entry begins there .byte 1"),
        ('{"1": ', "the file ends inside an entry"),
        ('{"1": {"tags": "a"}', "byte 19"),
        ('{"1": {"tags": "a"', "byte 1"),
        ('{"1": {"tags": "a}, "2": {}}', "the file ends inside an entry .byte 1"),
        ('{"1": {}, }', "byte 8"),
        ('{"1": {} "2": {}}', "a comma is missing or one too many .byte 8"),
        ('{, "1": {}}', "a comma is missing or one too many .byte 1"),
        ('{"1": {},, "2": {}}', "byte 8"),
        ('{"1": {}} and more', "byte 8"),
        ('{"1": {"tags": nothing}}', "byte 6"),
        ('{"1": {"tags": "\\q"}}', "byte 6"),
        ('{"1": "text"}', "entry of '1' is not an object"),
        ('{"1": 12, "2": {}}', "entry of '1' is not an object"),
    ],
)
def test_malformed_json_is_one_line_with_the_place(tmp_path, monkeypatch, content, where, block):
    monkeypatch.setattr(module, "BLOCK", block)
    path = tmp_path / "meta_lat.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=where) as error:
        list(entries(path))
    assert "\n" not in str(error.value) and "meta_lat.json" in str(error.value)


def test_bytes_that_are_not_utf8(tmp_path):
    path = tmp_path / "meta.json"
    path.write_bytes(b'{"1": {"tags": "\xff"}}')
    with pytest.raises(UserError, match="is not JSON"):
        list(entries(path))


def test_a_byte_order_mark_is_no_fault(tmp_path):
    (tmp_path / "a.json").write_text('\ufeff{"1": {}}', encoding="utf-8")
    (tmp_path / "a.jsonl").write_text('\ufeff{"image_path": "1.png"}\n', encoding="utf-8")
    assert [next(entries(tmp_path / name))[0] for name in ("a.json", "a.jsonl")] == ["1", "1"]


def test_a_missing_quote_does_not_read_the_rest_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_ENTRY", 100_000)
    monkeypatch.setattr(module, "BLOCK", 10_000)
    path = tmp_path / "meta.json"
    path.write_text('{"1": {"tags": "' + "a" * 5_000_000)
    tracemalloc.start()
    with pytest.raises(UserError, match="no entry ends there"):
        list(entries(path))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


LINES = [
    {"image_path": "/a/1.png", "caption": "One", "image_size": [64, 64]},
    {"image_path": "/a/b c/2.x.webp", "tags": "é", "image_size": [64, 128]},
]


def test_jsonl_from_any_line_on(tmp_path):
    path = tmp_path / "meta.jsonl"
    path.write_text("\n".join(["", *(json.dumps(line) for line in LINES)]), encoding="utf-8")
    read = list(entries(path))
    assert [(key, value) for key, value, _ in read] == [("1", LINES[0]), ("2.x", LINES[1])]
    assert list(entries(path, read[0][2])) == read[1:] and list(entries(path, read[1][2])) == []


@pytest.mark.parametrize("line", ["{", "3", '{"caption": "a"}', '{"image_path": 3}', '{"image_path": "folder/"}'])
def test_a_bad_line_is_one_line_with_the_place(tmp_path, line):
    path = tmp_path / "meta.jsonl"
    path.write_text(json.dumps(LINES[0]) + "\n" + line + "\n")
    with pytest.raises(UserError, match=f"meta.jsonl.*byte {len(json.dumps(LINES[0])) + 1}") as error:
        list(entries(path))
    assert "\n" not in str(error.value)
