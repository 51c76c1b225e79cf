"""Ids in lists and in file names: every id comes back as itself, and none leads out of its folder."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data import ids, npz

KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
HOSTILE = [
    "a\nb",
    "a\r",
    "\x1b[2Jx",
    '"a"',
    '"',
    "\ufeffa",
    "a\u2028b",
    " a ",
    "a\x85b",
    "\\n",
    "日本",
    "../x",
    "/etc/x",
]


@given(st.lists(KEYS | st.sampled_from(HOSTILE)))
def test_every_id_comes_back_as_itself_and_prints(keys):
    lines = [ids.line(key) for key in keys]
    assert all(line[:-1].isprintable() and line.endswith("\n") for line in lines)
    written = "".join(lines).encode().splitlines(keepends=True)
    assert [key.decode() for key in ids.keys_of(Path("x"), written)] == keys


@given(KEYS.filter(lambda key: key.isprintable() and not key.startswith('"')))
def test_what_prints_stands_as_it_is(key):
    assert ids.line(key) == f"{key}\n"


def test_lists_of_other_hands():
    lists = {b"\xef\xbb\xbfa\r\n\r\nb": [b"a", b"b"], b'"half\n"5" wide\n': [b'"half', b'"5" wide'], b'"\n': [b'"']}
    for text, keys in lists.items():
        assert list(ids.keys_of(Path("x"), text.splitlines(keepends=True))) == keys
    with pytest.raises(UserError, match=r"x\.txt is UTF-16; save it as UTF-8"):
        list(ids.keys_of(Path("x.txt"), "a\nb\n".encode("utf-16").splitlines(keepends=True)))


@pytest.mark.parametrize("key", ["", "/etc/passwd", "../x", "a/../x", "a/..", ".", "a//b", "a/", "a\0b"])
def test_no_id_leads_out_of_the_folder(key, tmp_path):
    with pytest.raises(UserError, match="is no name of a file below"):
        npz.path_of(tmp_path, key)


@given(KEYS)
def test_what_is_let_pass_lies_below_the_folder(key):
    folder = Path("/set/latents")
    try:
        path = npz.path_of(folder, key)
    except UserError:
        return
    assert ".." not in path.parts and folder in path.parents and path.name.endswith(".npz")


def test_an_id_of_a_json_string_is_that_string():
    assert json.loads(ids.line("a\nb")) == "a\nb"
