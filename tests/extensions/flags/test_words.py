"""Flags by name, and back to a command line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.flags.words import Flags

NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
VALUES = st.text(min_size=1, max_size=12).filter(lambda text: not text.startswith("--"))


@given(st.dictionaries(NAMES, st.lists(VALUES, max_size=3)))
def test_there_and_back(values):
    flags = Flags()
    for name, words in values.items():
        flags = flags.with_(name, *words)
    again = Flags(flags.words())
    assert again.values == values and list(again.values) == list(values)


def test_both_ways_to_give_a_value():
    flags = Flags(["--a=1", "--b", "2", "3", "--c", "--a", "x=y"])
    assert flags.as_dict() == {"a": "x=y", "b": ["2", "3"], "c": True}
    assert flags.get("c") == "" and flags.get("none") is None and "c" in flags


def test_args_are_split_as_a_shell_does():
    assert Flags.of_text("--a='x y' --b").as_dict() == {"a": "x y", "b": True}


@pytest.mark.parametrize("text", ["--a='x", "word"])
def test_bad_args(text):
    with pytest.raises(UserError):
        Flags.of_text(text)
