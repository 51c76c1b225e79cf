"""The trainer's parser with the plugins' flags: one line for what cannot be parsed, defaults for the states."""

import argparse
from pathlib import Path

import pytest

from extensions import manager
from extensions.base.errors import UserError
from extensions.trainer import arguments


def extended(*names: str) -> argparse.ArgumentParser:
    """A trainer's parser of two flags, with those of plugins."""
    parser = argparse.ArgumentParser(prog="trainer")
    parser.add_argument("--learning_rate", type=float, default=2e-6)
    parser.add_argument("--seed", type=int)
    return arguments.extend(parser, manager.Manager(names))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--learning_rat=1"], "unknown flag --learning_rat; did you mean --learning_rate"),
        (["--dual_tag=tags"], "unknown flag --dual_tag; it belongs to the plugin dual_tag: add dual_tag to --ext"),
        (["--dual_tag", "tags"], "add dual_tag to --extensions"),
        (["--learning_rate=fast"], "invalid float value"),
        (["--qwxyz"], "neither the trainer nor a plugin"),
        (
            ["--unet_percent=all"],
            "argument --unet_percent: 'all' is not a number; see the flag's line in the launcher",
        ),
        (["--unet_percent"], "expected one argument"),
        (["words"], "unknown flag words"),
    ],
)
def test_parse_errors_are_one_line(words, says):
    with pytest.raises(UserError, match=says) as error:
        extended("unet_percent").parse_args(words)
    assert "\n" not in str(error.value)


def test_a_listed_plugin_s_flags_are_parsed_to_their_kinds():
    args = extended("unet_percent", "dual_tag").parse_args(
        ["--unet_percent=71", "--unet_freeze=a+", "--dual_tag_shuffle", "--dual_tag_keep_first=2"]
    )
    assert (args.unet_percent, args.unet_freeze.pattern, args.dual_tag_keep_first) == (71.0, "a+", 2)
    assert args.dual_tag_shuffle is True and args.unet_train is None and args.run_folder is None
    assert extended().parse_args(["--run_folder=a b"]).run_folder == Path("a b")


@pytest.mark.parametrize("name", manager.available())
def test_help_names_every_flag_with_its_unit(name):
    page = " ".join(extended(name).format_help().split())
    for flag in manager.flags_of([name]):
        assert f"--{flag.name}" in page and flag.unit in page and flag.help.split(",")[0] in page


def test_a_flag_that_the_trainer_has_already():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keep_states")
    with pytest.raises(UserError, match="plugin save_states adds a flag that is there already: .*--keep_states"):
        arguments.extend(parser, manager.Manager(["save_states"]))


def test_defaults_are_remembered_for_the_states_and_are_what_parsing_nothing_gives():
    args = extended("save_states", "dual_tag").parse_args([])
    assert manager.defaults().items() >= vars(args).items()
    assert manager.defaults()["keep_states"] == 2 and manager.defaults()["learning_rate"] == 2e-6


def test_extensions_are_read_before_the_parser_exists():
    assert arguments.listed_plugins(["--x=1", "--extensions=a, b", "--y"]) == ["a", "b"]
    assert arguments.listed_plugins(["--extensions", "a,b.c"]) == ["a", "b.c"]
    assert arguments.listed_plugins(["--extensions=a", "--extensions=b"]) == ["b"]
    assert arguments.listed_plugins(["--exten=a"]) == arguments.listed_plugins([]) == []


def test_only_check_is_the_first_word():
    for asked, words in ((True, ["sdxl_train.py", "--v2"]), (False, ["sdxl_train.py", "--only-check"])):
        assert arguments.of_program(["--only-check"] * asked + words, "it", "SCRIPT") == (asked, words)
    with pytest.raises(UserError, match="^python -m it was given no SCRIPT; it is .*TREE SCRIPT"):
        arguments.of_program(["--only-check", "tree"], "it", "TREE", "SCRIPT")
