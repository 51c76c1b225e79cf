"""Files of --config_file: whatever they hold, a good file passes and a bad one is one line."""

import argparse

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.flags import values
from extensions.trainer import config_file


@pytest.fixture(scope="module")
def parser():
    made = argparse.ArgumentParser()
    made.add_argument("--learning_rate", type=float)
    made.add_argument("--seed", type=int)
    made.add_argument("--extensions")
    made.add_argument("--full_bf16", action="store_true")
    made.add_argument("--optimizer_args", nargs="*")
    made.add_argument("--mixed_precision", choices=["no", "bf16"])
    made.add_argument("--states_every_n_steps", type=values.whole(0))
    return made


def test_a_good_file(tmp_path, parser):
    (tmp_path / "run.toml").write_text(
        'seed = 1\n[optimizer]\nlearning_rate = 1e-6\noptimizer_args = ["weight_decay=0.01"]\nfull_bf16 = false\n'
        'mixed_precision = "bf16"\n["of plugins"]\nextensions = ""\nstates_every_n_steps = 3\n'
    )
    config_file.check(str(tmp_path / "run"), parser)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"learning_rat = 1", "unknown flag learning_rat in .*; did you mean learning_rate?"),
        (b"[a]\nxyz = 1", "unknown flag xyz in .*; neither the trainer nor a listed plugin has it"),
        (b"seed = ", "is not TOML"),
        (b"seed = 1\nseed = 2", "is not TOML"),
        (b"\xff\xfe", "is not TOML"),
        (b"{}", "is not TOML"),
        (b'optimizer_args = "weight_decay=0.01 betas=.9,.99"', "must be a list of texts, as in optimizer_args = "),
        (b"[o]\noptimizer_args = [0.01]", "must be a list of texts"),
        (b'full_bf16 = "false"', 'full_bf16 = "false" in .* must be true or false, without quotes'),
        (b"full_bf16 = 0", "must be true or false"),
        (b'learning_rate = "1e-6"', "must be a number, without quotes"),
        (b"learning_rate = [1e-6]", "must be one value"),
        (b"learning_rate = true", "must be one value, no list, table, true or false"),
        (b"seed = 1.5", "must be a whole number"),
        (b"seed = nan", "must be a whole number"),
        (b"seed = inf", "must be a whole number"),
        (b'mixed_precision = "bf61"', "must be one of no, bf16"),
        (b'extensions = ["dual_tag"]', "must be one value"),
    ],
)
def test_a_bad_file_is_one_line(tmp_path, parser, text, line):
    (tmp_path / "run.toml").write_bytes(text)
    with pytest.raises(UserError, match=f"^--config_file=.*{line}") as caught:
        config_file.check(str(tmp_path / "run.toml"), parser)
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path, parser):
    with pytest.raises(UserError, match="cannot be read"):
        config_file.check(str(tmp_path / "run"), parser)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(text=st.text(st.sampled_from("sed=[]{}\"'\\.\n #1-:T\t,é"), max_size=20))
def test_any_text_passes_or_is_refused(tmp_path, parser, text):
    (tmp_path / "run.toml").write_text(text, encoding="utf-8")
    try:
        config_file.check(str(tmp_path / "run"), parser)
    except UserError as error:
        assert str(error).startswith("--config_file=")
