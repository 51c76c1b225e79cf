"""What an error says, in English and in one line; exit codes that mean that it was said."""

import errno
import os
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import EXPLAINED, NotFinite, Stopped, UserError, english, no_room, printable


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        # sd-scripts' own texts.
        (
            "fused_backward_pass only works with optimizer_type Adafactor / fused_backward_passは使えません",
            "fused_backward_pass only works with optimizer_type Adafactor",
        ),
        ("only once / \u4e00\u5ea6\u3060\u3051", "only once"),
        ("a / b", "a / b"),
        ("/data/a / b.npz is missing", "/data/a / b.npz is missing"),
        ("a/\u4e00", "a/\u4e00"),
        ("a\n  b\tc ", "a b c"),
        ("one\n/ \u4e00", "one"),
        ("", ""),
    ],
)
def test_half_of_what_is_said_twice(said, shown):
    assert english(ValueError(said)) == shown


def test_an_error_without_words():
    assert english(AssertionError()) == english(KeyError()) == ""


@given(st.text(max_size=60))
def test_whatever_is_said_is_one_line(said):
    shown = english(ValueError(said))
    assert len(shown.splitlines()) <= 1 and shown == shown.strip()


def test_the_codes_are_those_of_sysexits_and_the_readme():
    codes = (UserError.code, Stopped.code, NotFinite.code)
    assert codes == (2, os.EX_TEMPFAIL, 76) and set(codes) == EXPLAINED
    assert issubclass(Stopped, UserError) and issubclass(NotFinite, UserError)


@given(st.text())
def test_names_in_an_error_break_no_line_and_reach_no_terminal(name):
    said = str(UserError(f"{name} is missing"))
    assert said.isprintable() and str(pickle.loads(pickle.dumps(UserError(said)))) == said
    assert not name.isprintable() or name in said


def test_what_does_not_print_is_written_as_python_does():
    assert printable("a\nb\x1b[2J\udcff é") == "a\\nb\\x1b[2J\\udcff é"


@given(st.text(st.characters(), max_size=60))
def test_what_is_printed_is_one_line_of_printable_characters(said):
    shown = printable(said)
    assert shown.isprintable() and (shown == said) == said.isprintable()


def test_what_no_encoding_holds_is_printable():
    assert printable("a\udcff\x1b\nb 日本") == "a\\udcff\\x1b\\nb 日本"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_something_to_mend(number):
    said = str(no_room(OSError(number, "full", "/out/a\nb")))
    assert said == f"/out/a\\nb cannot be written ({os.strerror(number)}); make room, then the same command again"
    assert str(no_room(OSError(number, "full"))).startswith("a file cannot be written (")


@pytest.mark.parametrize(
    "error", [OSError(errno.EIO, "broken", "/x"), OSError("full"), ValueError("full"), UserError()]
)
def test_other_faults_are_not(error):
    assert no_room(error) is None
