"""The reference trainer's flags are upstream's, every launcher's flags are among them, and refusals name the flag."""

import argparse
import importlib

import pytest

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.launch import asked as request
from extensions.logbook.registry import PATTERN, ask
from extensions.reference import flags
from extensions.trainer import arguments

ROWS = [(script, name) for name, *_, scripts in flags.TABLE for script in scripts]
# No choices in ours: `check` and accelerate refuse what they do not know.
UNLISTED_CHOICES = {"zero_stage", "save_model_as", "dynamo_backend", "max_token_length"}
GOOD = ["--pretrained_model_name_or_path=a", "--output_dir=b", "--dataset_class=c.D"]


def options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    return {action.dest: action for action in parser._actions}


def made(script="sdxl_train.py", plugins=()):
    return arguments.extend(flags.parser(script), manager.Manager(plugins))


@pytest.fixture(scope="module")
def upstreams(patched):
    return {name: options(importlib.import_module(name.removesuffix(".py")).setup_parser()) for name in flags.SCRIPTS}


@pytest.mark.upstream
@pytest.mark.parametrize(("script", "name"), ROWS)
def test_a_row_is_upstreams(script, name, upstreams):
    ours, theirs = options(flags.parser(script))[name], upstreams[script][name]
    assert ours.option_strings == theirs.option_strings
    assert ours.default == theirs.default and type(ours.default) is type(theirs.default)
    assert (type(ours), ours.nargs, ours.const) == (type(theirs), theirs.nargs, theirs.const)
    if ours.choices:
        assert set(ours.choices) <= set(theirs.choices)
    else:
        assert not theirs.choices or name in UNLISTED_CHOICES
    if ours.type in (int, float):
        assert ours.type is theirs.type


@pytest.mark.upstream
@pytest.mark.parametrize("text", ["0", "1", "250", "0.1", "1e-3", "0.99"])
def test_a_warm_up_is_read_as_upstream_reads_it(text, upstreams):
    ours, theirs = flags.count_or_share(text), upstreams["sdxl_train.py"]["lr_warmup_steps"].type(text)
    assert ours == theirs and (type(ours) is type(theirs) or ours == 0)


@pytest.mark.parametrize("launcher", sorted(LAUNCHERS.glob(PATTERN)), ids=lambda path: path.stem)
def test_a_launchers_flags_are_the_reference_trainers(launcher):
    asked = request.read(ask(launcher), environment={})
    words = asked.flags.with_("logging_dir", "logs").words()  # the launch layer gives it
    plugins = arguments.listed_plugins(words)
    args = flags.parse(made(asked.script, plugins), words)
    flags.check(args, asked.script)
    switches = [name for name, values in asked.flags.values.items() if not values]
    assert all(getattr(args, name) is True for name in switches)


def test_an_unknown_flag_is_named_with_those_that_there_are():
    with pytest.raises(UserError, match="unknown flag --noise_offset") as caught:
        flags.parse(made(), [*GOOD, "--noise_offset=0.1"])
    names = [f"--{name}" for name, *_, scripts in flags.TABLE if "sdxl_train.py" in scripts]
    assert set(names) <= set(str(caught.value).split()) and "--learning_rate_te" not in str(caught.value).split()
    assert "\n" not in str(caught.value)


def test_a_flag_of_a_plugin_that_is_not_listed_names_the_plugin():
    with pytest.raises(UserError, match="belongs to the plugin dual_tag: add dual_tag to --extensions$"):
        flags.parse(made(), [*GOOD, "--dual_tag=tags"])
    assert flags.parse(made(plugins=["dual_tag"]), [*GOOD, "--dual_tag=tags"]).dual_tag == "tags"


@pytest.mark.parametrize(("word", "named"), [("--save_precision=fp8", "save_precision"), ("--seed=x", "seed")])
def test_a_value_that_makes_no_sense_is_one_line(word, named):
    with pytest.raises(UserError, match=named):
        flags.parse(made(), [*GOOD, word])


REFUSED = [
    (["--pretrained_model_name_or_path="], "--pretrained_model_name_or_path is missing"),
    (["--output_dir="], "--output_dir is missing"),
    (["--dataset_class="], "--dataset_class is missing.*extensions.data.dataset.LatentsDataset"),
    (["--save_model_as=diffusers"], "--save_model_as=diffusers"),
    (["--v2"], "sdxl_train.py trains SDXL; drop --v2"),
    (["--log_with=tensorboard"], "--log_with=tensorboard needs --logging_dir"),
    (["--log_with=all"], "--log_with=all needs --logging_dir"),
    (["--zero_stage=3"], "--zero_stage=3"),
]


@pytest.mark.parametrize(("words", "message"), REFUSED, ids=[" ".join(words) for words, _ in REFUSED])
def test_what_cannot_work_is_refused(words, message):
    flags.check(flags.parse(made(), GOOD), "sdxl_train.py")
    with pytest.raises(UserError, match=message):
        flags.check(flags.parse(made(), [*GOOD, *words]), "sdxl_train.py")


def test_fine_tune_is_for_sd2():
    flags.check(flags.parse(made("fine_tune.py"), [*GOOD, "--v2"]), "fine_tune.py")
    with pytest.raises(UserError, match="add --v2"):
        flags.check(flags.parse(made("fine_tune.py"), GOOD), "fine_tune.py")
