"""A declared flag is one thing to a trainer's parser and to a launcher's text."""

import argparse
from dataclasses import FrozenInstanceError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import declared
from extensions.flags.declared import Flag
from extensions.flags.values import percent, whole

STEPS = Flag("keep", whole(1), "so many stay", default=2, unit="states")
WAY = Flag("way", str, "how 5% go", choices=("one", "other"))
SWITCH = Flag("shuffle", bool, "in a new order")
ALL = [flag for name in manager.available() for flag in manager.flags_of([name])]
TEXTS = st.one_of(
    st.sampled_from(["", "0", "1", "-1", "0.5", "71", "101", "nan", "1e-3", "attn2", "(", "a b", "x=y"]),
    st.sampled_from([choice for flag in ALL for choice in flag.choices]),
    st.integers().map(str),
    st.floats().map(repr),
)


def parsed(flag: Flag, *words: str):
    """The flag's value, by argparse."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    flag.add_to(parser)
    return getattr(parser.parse_args(words), flag.name)


@given(flag=st.sampled_from(ALL), text=TEXTS)
def test_both_ways_give_one_value_or_none(flag, text):
    """Every flag of every plugin."""
    words = [f"--{flag.name}"] if flag.kind is bool else [f"--{flag.name}={text}"]
    try:
        value = parsed(flag, *words)
    except argparse.ArgumentError:
        with pytest.raises(UserError, match=f"^--{flag.name}="):
            flag.value_of(text)
    else:
        assert flag.value_of(text) == value


@pytest.mark.parametrize("flag", ALL, ids=lambda flag: flag.name)
def test_without_the_flag_both_ways_give_its_default(flag):
    assert flag.value_of(None) == parsed(flag) and (flag.kind is bool) == (flag.value_of(None) is False)


@pytest.mark.parametrize("flag", ALL, ids=lambda flag: flag.name)
def test_a_default_is_a_value(flag):
    if flag.default not in (None, ""):
        assert flag.value_of(str(flag.default)) == flag.default


@pytest.mark.parametrize(
    ("flag", "text", "value"),
    [(STEPS, None, 2), (STEPS, "7", 7), (WAY, None, None), (WAY, "other", "other"), (SWITCH, None, False),
     (SWITCH, "", True), (Flag("share", percent, ""), "71", 71.0)],
)  # fmt: skip
def test_values_of_text(flag, text, value):
    found = flag.value_of(text)
    assert found == value and type(found) is type(value)


@pytest.mark.parametrize(
    ("flag", "text", "line"),
    [
        (STEPS, "0", "--keep=0 is not a whole number from 1 up"),
        (STEPS, "", "--keep= is not a whole number from 1 up"),
        (WAY, "third", "--way=third is not one of one, other"),
        (WAY, "", "--way= is not one of one, other"),
    ],
)
def test_refused_in_one_line(flag, text, line):
    with pytest.raises(UserError) as caught:
        flag.value_of(text)
    assert str(caught.value) == line
    with pytest.raises(argparse.ArgumentError, match=f"argument --{flag.name}"):
        parsed(flag, f"--{flag.name}={text}")


def test_what_argparse_says_is_the_kinds_word():
    with pytest.raises(argparse.ArgumentTypeError, match="^'0' is not a whole number from 1 up$"):
        STEPS.typed("0")


def test_help_shows_units_and_per_cent_signs():
    parser = argparse.ArgumentParser()
    for flag in (STEPS, WAY):
        flag.add_to(parser)
    page = " ".join(parser.format_help().split())
    assert "so many stay (states)" in page and "{one,other} how 5% go" in page


def test_a_flag_is_data():
    with pytest.raises(FrozenInstanceError):
        STEPS.default = 3


class Picky:
    excludes = {"deepspeed": "it wants whole weights", "v2": "it knows SDXL alone"}


def test_what_a_listed_plugin_excludes(monkeypatch):
    monkeypatch.setattr(manager, "declared", {"picky": Picky, "plain": object}.__getitem__)
    declared.check(["plain", "picky"], {"seed"}.__contains__)
    declared.check(["plain"], {"v2", "deepspeed"}.__contains__)
    with pytest.raises(UserError) as caught:
        declared.check(["plain", "picky"], {"seed", "v2"}.__contains__)
    assert str(caught.value) == "--v2 and the plugin picky exclude each other: it knows SDXL alone; drop one of them"
