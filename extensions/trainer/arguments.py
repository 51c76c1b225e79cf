"""The trainer's parser with the plugins' flags, and errors of one line."""

import argparse
from difflib import get_close_matches

from extensions import manager
from extensions.base.errors import UserError

HELP = "plugins of this run, comma-separated (files of extensions/); nothing runs that is not listed"


def only_check(words: list[str]) -> tuple[bool, list[str]]:
    """Whether the trainer is to end once its flags are checked (--only-check, as the first word), and the rest."""
    asked = words[:1] == ["--only-check"]
    return asked, words[asked:]


def listed_plugins(flags: list[str]) -> list[str]:
    """The names in --extensions, read before the real parser exists."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--extensions", default="")
    value = parser.parse_known_args(flags)[0].extensions
    return [name.strip() for name in value.split(",") if name.strip()]


def extend(parser: argparse.ArgumentParser, plugins: manager.Manager) -> argparse.ArgumentParser:
    """Add --extensions and the plugins' flags; make every parse error one helpful line.

    Abbreviated flags are switched off: argparse would take a misspelt `--learning_rat` for the flag.
    """
    parser.allow_abbrev = False
    parser.add_argument("--extensions", default="", help=HELP)
    try:
        plugins.hook.add_arguments(parser=parser)
    except argparse.ArgumentError as error:
        raise UserError(f"two plugins, or a plugin and sd-scripts, add the same flag: {error}") from error
    parser.error = lambda message: _refuse(parser, message)
    return parser


def _refuse(parser: argparse.ArgumentParser, message: str):
    unknown = "unrecognized arguments: "
    if not message.startswith(unknown):
        raise UserError(f"{message}; see the flag's line in the launcher")
    flag = message.removeprefix(unknown).split()[0].split("=", 1)[0]
    raise UserError(f"unknown flag {flag}; {_advice(parser, flag)}")


def _advice(parser: argparse.ArgumentParser, flag: str) -> str:
    owner = manager.owner_of_flag(flag, argparse.ArgumentParser)
    if owner:
        return f"it belongs to the plugin {owner}: add {owner} to --extensions"
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    near = get_close_matches(flag, known, n=1)
    return f"did you mean {near[0]}?" if near else "neither the trainer nor a plugin has it"
