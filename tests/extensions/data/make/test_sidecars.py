"""Texts beside images: every encoding, what is no text, and suffixes as people give them."""

import codecs
import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.make import sidecars
from extensions.data.make.sidecars import BadText, Sidecars, decoded

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"))


def read_as_python_does(text: str) -> str:
    """The text of a file, whose lines may end as on any system."""
    return io.StringIO(text, newline=None).read().strip()


@given(TEXT, st.booleans())
def test_utf8_with_and_without_its_mark(text, marked):
    found = decoded("a", (codecs.BOM_UTF8 if marked else b"") + text.encode(), "utf-8")
    assert found == read_as_python_does(text)


@given(TEXT, st.sampled_from(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8"]))
def test_the_encoding_that_is_asked_for(text, encoding):
    assert decoded("a", text.encode(encoding), sidecars.known(encoding)) == read_as_python_does(text)
    assert decoded("a", ("\ufeff" + text).encode(encoding), sidecars.known(encoding)) == read_as_python_does(text)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "cp932"])
def test_a_mark_is_believed_and_not_read_over(encoding):
    assert decoded("a", codecs.BOM_UTF8 + "日本".encode(), encoding) == "日本"
    for wide in ("utf-16", "utf-32"):
        with pytest.raises(BadText, match=r"a\.txt cannot be read \(it is UTF-16\).*TEXT_ENCODING=utf-16"):
            decoded("a.txt", "cat".encode(wide), encoding)


@given(st.binary())
def test_whatever_the_bytes_it_is_a_text_or_one_line(found):
    for encoding in ("utf-8", "utf-16", "latin-1", "utf-7", "unicode_escape"):
        try:
            text = decoded("a.txt", found, encoding)
        except BadText as error:
            assert "\n" not in str(error) and "a.txt cannot be read" in str(error)
        else:
            assert text.encode().decode() == text == text.strip() and "\0" not in text


@pytest.mark.parametrize(
    "bad", ["1girl".encode("utf-16"), "1girl".encode("utf-16-le"), "é".encode("latin-1"), b"\xff\xfe\x00"]
)
def test_other_encodings_are_told_and_not_guessed(tmp_path, bad):
    (tmp_path / "a.txt").write_bytes(bad)
    with pytest.raises(BadText, match=r"a\.txt cannot be read .*TEXT_ENCODING="):
        Sidecars().texts(tmp_path / "a.png")


def test_what_is_there_and_is_no_text(tmp_path):
    (tmp_path / "folder.txt").mkdir()
    os.mkfifo(tmp_path / "pipe.txt")
    (tmp_path / "link.txt").symlink_to(tmp_path / "nowhere")
    (tmp_path / "long.txt").write_bytes(b"x" * (sidecars.LARGEST + 1))
    for name in ("folder", "pipe", "link", "long"):
        with pytest.raises(BadText, match=rf"{name}\.txt cannot be read \("):
            Sidecars().texts(tmp_path / f"{name}.png")


def test_what_is_not_there_is_no_text(tmp_path):
    assert Sidecars().texts(tmp_path / "a.png") == (None, None)
    assert Sidecars().texts(tmp_path / f"{'x' * 251}.png") == (None, None), "a name that a sidecar cannot have"
    (tmp_path / "b.txt").touch()
    assert Sidecars().texts(tmp_path / "b.png") == ("", None)


def test_suffixes_in_capitals(tmp_path):
    (tmp_path / "A.TXT").write_text("tags")
    (tmp_path / "A.CAPTION").write_text("caption")
    assert Sidecars().texts(tmp_path / "A.PNG") == ("tags", "caption")
    (tmp_path / "A.txt").write_text("other")
    assert Sidecars().texts(tmp_path / "A.PNG") == ("other", "caption")


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (("", ""), (".txt", ".caption")),
        (("wd", "txt"), (".wd", ".txt")),
        (("", "txt"), ("", ".txt")),
        (("", ".txt"), ("", ".txt")),
        (("tags.txt", ""), (".tags.txt", ".caption")),
    ],
)
def test_suffixes_as_people_give_them(asked, found):
    made = Sidecars.asked(*asked)
    assert (made.tags, made.caption, made.encoding) == (*found, "utf-8")


@pytest.mark.parametrize("asked", [(".txt", "txt"), ("a/b", ""), ("../x", ""), (".", ""), (" ", ""), ("", "..")])
def test_suffixes_that_are_none(asked):
    with pytest.raises(UserError, match=r"^(TAGS|CAPTION)\b.*; |give the suffix"):
        Sidecars.asked(*asked)


@pytest.mark.parametrize("encoding", ["utf-9", "hex", "rot13", "undefined", "a\0b", "x" * 500, "../../x", "é"])
def test_encodings_that_are_none(encoding):
    with pytest.raises(UserError, match="is no encoding of texts; give one such as utf-8"):
        Sidecars.asked(encoding=encoding)
