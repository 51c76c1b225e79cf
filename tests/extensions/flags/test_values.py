"""Kinds of values: what each takes, and the words in which it refuses the rest."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.flags import values

NUMBERS = st.floats(allow_nan=True, allow_infinity=True)


@given(number=st.integers(), least=st.integers(-3, 3))
def test_whole_numbers_from_the_least_up(number, least):
    if number >= least:
        assert values.whole(least)(str(number)) == values.whole(least)(f" {number:+} ") == number
    else:
        with pytest.raises(ValueError, match=f"^not a whole number from {least} up$"):
            values.whole(least)(str(number))


@pytest.mark.parametrize("text", ["", "1.0", "1e3", "0x10", "1_000", "--1", "one", "1 2", "²"])
def test_what_is_no_whole_number(text):
    with pytest.raises(ValueError, match="not a whole number from -9 up"):
        values.whole(-9)(text)


@given(number=NUMBERS)
def test_real_numbers_are_the_finite_ones(number):
    if math.isfinite(number):
        assert values.real(repr(number)) == number
    else:
        with pytest.raises(ValueError, match="^not a number$"):
            values.real(repr(number))


@pytest.mark.parametrize("text", ["", "fast", "1,5", "1e999", "-inf", "NaN", None])
def test_what_is_no_number(text):
    with pytest.raises(ValueError, match="^not a number$"):
        values.real(text)


@given(number=NUMBERS)
def test_bounds_of_probabilities_and_percentages(number):
    for kind, within, says in (
        (values.probability, 0 <= number <= 1, "probability from 0 to 1"),
        (values.percent, 0 < number <= 100, "percentage above 0 and up to 100"),
    ):
        if within:
            assert kind(repr(number)) == number
        else:
            with pytest.raises(ValueError, match=f"^not a number$|^not a {says}"):
                kind(repr(number))


@pytest.mark.parametrize(
    ("kind", "inside", "outside"),
    [
        (values.probability, ["0", "1", "1e-9"], ["-1e-9", "1.1"]),
        (values.percent, ["1e-9", "100"], ["0", "-0", "101"]),
    ],
)
def test_the_bounds_themselves(kind, inside, outside):
    assert [kind(text) for text in inside] == [float(text) for text in inside]
    for text in outside:
        with pytest.raises(ValueError):
            kind(text)


def test_regular_expressions():
    assert values.regex(r"attn[12]\.") == re.compile(r"attn[12]\.")
    with pytest.raises(ValueError, match="^not a regular expression: missing \\)"):
        values.regex("(")


def test_switches_of_the_environment():
    assert all(values.switch("CPU", text) is True for text in ("1", "yes", "true", "YES", "True"))
    assert all(values.switch("CPU", text) is False for text in ("0", "no", "false", "No", "", None))
    for text in ("on", "off", "y", "2", "01", " 1", "-1", "yes please", "ja", "\u0661"):
        with pytest.raises(UserError, match=f"^CPU={text} is neither yes nor no: give CPU=1 or CPU=0"):
            values.switch("CPU", text)


def test_a_value_that_is_none_is_one_line_with_its_name():
    assert values.count("GPUS", "4", least=1) == values.parsed("--gpus", "4", values.whole(1)) == 4
    for name, refuse in (
        ("GPUS", lambda text: values.count("GPUS", text, least=1)),
        ("--gpus", lambda text: values.parsed("--gpus", text, values.whole(1))),
    ):
        with pytest.raises(UserError, match=f"^{name}=0 is not a whole number from 1 up$"):
            refuse("0")
