"""What each flag takes, against upstream's own parsers; and one line for what is given otherwise."""

import argparse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.flags import kinds
from extensions.flags.words import Flags
from extensions.reference import flags as reference
from tests.helpers.upstream_flags import all_flags

NUMERIC = {"int", "float", "int_or_float"}


def refused(*words) -> str:
    with pytest.raises(UserError) as caught:
        kinds.check(Flags(words).values)
    return str(caught.value)


@pytest.mark.upstream
def test_every_flag_of_upstream_is_of_the_kind_that_its_parser_says():
    for name, action in all_flags().items():
        numeric = getattr(action.type, "__name__", "") in NUMERIC
        assert (name in kinds.SWITCHES) == (action.nargs == 0), name
        assert (name in kinds.LISTS) == (action.nargs == "*"), name
        assert (name in kinds.NUMBERS) == numeric, name
        of_text = action.nargs is None and not numeric
        assert (name in kinds.TEXTS | kinds.MAY_BE_EMPTY) == of_text, name


@pytest.mark.upstream
def test_the_defaults_of_upstream_are_good():
    for name, kind in kinds.NUMBERS.items():
        default = all_flags()[name].default
        assert default is None or kind(str(default)) == default, name


def test_every_flag_of_the_reference_trainer_is_known():
    for name, kind, *_ in reference.TABLE:
        groups = {bool: kinds.SWITCHES, list: kinds.LISTS, int: kinds.NUMBERS, float: kinds.NUMBERS}
        of_text = kinds.TEXTS | kinds.MAY_BE_EMPTY
        expected = kinds.NUMBERS if kind is reference.count_or_share else groups.get(kind, of_text)
        assert name in expected, name


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--seed=-1"], "--seed=-1 is not a whole number from 0 to 4294967295"),
        (["--seed", "4294967296"], "--seed=4294967296 is not a whole number from 0 to 4294967295"),
        (["--seed=1.5"], "--seed=1.5 is not a whole number"),
        (["--max_data_loader_n_workers=-2"], "--max_data_loader_n_workers=-2 is not a whole number from 0 to 1024"),
        (["--learning_rate=1e400"], "--learning_rate=1e400 is not a number"),
        (["--learning_rate=1e-400"], "--learning_rate=1e-400 is not a number"),
        (["--learning_rate=nan"], "--learning_rate=nan is not a number"),
        (["--learning_rate=-1e-6"], "--learning_rate=-1e-6 is not a number from 0 up"),
        (["--max_grad_norm=-inf"], "--max_grad_norm=-inf is not a number"),
        (["--max_train_steps=" + "9" * 50], "--max_train_steps=999"),
        (["--learning_rate"], "--learning_rate has no value; give --learning_rate=<value>"),
        (["--output_dir", "--v2"], "--output_dir has no value"),
        (["--output_dir="], "--output_dir has no value"),
        (["--output_name="], "--output_name has no value"),
        (["--unet_percent"], "--unet_percent has no value"),
        (["--unet_percent=abc"], "--unet_percent=abc is not a number"),
        (["--dual_tag=both"], "--dual_tag=both is not one of"),
        (["--full_bf16=false"], "--full_bf16=false: it takes no value; give --full_bf16 alone"),
        (["--v2", "yes"], "--v2=yes: it takes no value"),
        (["--output_dir=a", "b"], "--output_dir takes one value, not 2: a b; put quotes around it"),
        (["--=x"], "--=x names no flag"),
        (["--output_name=../x"], "--output_name=../x is not a plain name"),
        (["--output_name=a/b"], "--output_name=a/b is not a plain name"),
        (["--output_name=.."], "--output_name=.. is not a plain name"),
        (["--output_name=a\nb"], "--output_name=a\\nb is not a plain name"),
        (["--output_name=" + "a" * 240], "--output_name=aaa"),
        (["--config_file=nowhere/run"], "--config_file=nowhere/run: there is no file nowhere/run.toml"),
    ],
)
def test_what_is_not_given_as_it_is_to_be(words, line):
    assert refused(*words).startswith(line)


def test_good_ones_pass(tmp_path):
    (tmp_path / "run.toml").touch()
    words = ["--seed=0", "--learning_rate", "0", "--v2", "--log_prefix=", "--optimizer_args", "a=1", "b=2", "--own=x"]
    kinds.check(Flags([*words, f"--config_file={tmp_path / 'run'}", "--output_name=café 1.0"]).values)
    kinds.check(Flags(["--optimizer_args", f"--config_file={tmp_path / 'run.toml'}"]).values)


@given(st.sampled_from(sorted(kinds.NUMBERS)), st.text(max_size=6) | st.floats().map(repr) | st.integers().map(str))
def test_a_number_is_taken_or_refused_in_one_line(name, text):
    flags = Flags.of({name: [text]})
    try:
        kinds.check(flags.values)
        assert abs(float(text)) < float("inf")
    except UserError as error:
        assert str(error).startswith(f"--{name}")


@pytest.mark.parametrize(
    ("parsed", "line"),
    [
        ({"seed": -1}, "--seed=-1 is not"),
        ({"seed": True}, "--seed=True is not"),
        ({"learning_rate": float("inf")}, "--learning_rate=inf is not a number"),
        ({"full_bf16": "false"}, "--full_bf16=false: it is on or off; write full_bf16 = true"),
        ({"output_name": "../x"}, "--output_name=../x is not a plain name"),
    ],
)
def test_what_a_configuration_file_says(parsed, line):
    with pytest.raises(UserError) as caught:
        kinds.check_parsed(argparse.Namespace(**parsed))
    assert str(caught.value).startswith(line)
    kinds.check_parsed(argparse.Namespace(seed=None, learning_rate=1e-6, full_bf16=True, output_name=None))
