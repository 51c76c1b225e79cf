"""What an error says, in English and in one line; exit codes that mean that it was said."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import EXPLAINED, NotFinite, Stopped, UserError, english


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
