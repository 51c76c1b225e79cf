"""Parses the trainer's flags with the plugins' own, errors in one line."""

import argparse
from difflib import get_close_matches
from pathlib import Path

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.model import prediction

HELP = (
    "plugins of this run, comma-separated: files of extensions/plugins/, or dotted names of your own; nothing runs "
    "that is not listed"
)


def of_program(argv: list[str], program: str, *names: str) -> tuple[bool, list[str]]:
    """Tell whether the trainer ends once its flags are checked (--only-check, as the first word), and the rest.

    The rest begins with a word for each of `names`. UserError, with how `program` is called, where one is missing.
    """
    asked = argv[:1] == ["--only-check"]
    words = argv[asked:]
    if len(words) < len(names):
        raise UserError(
            f"python -m {program} was given no {names[len(words)]}; it is called as python -m {program} "
            f"[--only-check] {' '.join(names)} [flags], by a launcher (make train RUN=…)"
        )
    return asked, words


def listed_plugins(flags: list[str]) -> list[str]:
    """Return the names in --extensions, read before the real parser exists."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--extensions", default="")
    return manager.listed(parser.parse_known_args(flags)[0].extensions)


def extend(parser: argparse.ArgumentParser, plugins: manager.Manager) -> argparse.ArgumentParser:
    """Add --extensions and the plugins' flags; make every parse error one helpful line.

    Abbreviated flags are switched off: argparse would take a misspelt `--learning_rat` for the flag.
    """
    parser.allow_abbrev = False
    parser.add_argument("--extensions", default="", help=HELP)
    parser.add_argument("--run_folder", type=Path, help="where the run's record goes; a launch gives it")
    parser.add_argument(f"--{prediction.CHANGE}", action="store_true", help=prediction.CHANGE_HELP)
    parser.add_argument(f"--{settings.AS_UPSTREAM}", action="store_true", help=settings.AS_UPSTREAM_HELP)
    for name in plugins.names:
        group = parser.add_argument_group(name)
        try:
            for flag in manager.flags_of([name]):
                flag.add_to(group)
        except argparse.ArgumentError as error:
            raise UserError(f"plugin {name} adds a flag that is there already: {error}") from error
    manager.set_defaults({action.dest: action.default for action in parser._actions})
    parser.error = lambda message: _refuse(parser, message)
    return parser


def _refuse(parser: argparse.ArgumentParser, message: str):
    unknown = "unrecognized arguments: "
    if not message.startswith(unknown):
        raise UserError(f"{message}; see the flag's line in the launcher")
    flag = message.removeprefix(unknown).split()[0].split("=", 1)[0]
    raise UserError(f"unknown flag {flag}; {_advice(parser, flag)}")


def _advice(parser: argparse.ArgumentParser, flag: str) -> str:
    owner = manager.owner_of_flag(flag.removeprefix("--"))
    if owner:
        return f"it belongs to the plugin {owner}: add {owner} to --extensions"
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    near = get_close_matches(flag, known, n=1)
    return f"did you mean {near[0]}?" if near else "neither the trainer nor a plugin has it"


def require_listed(args: argparse.Namespace, plugins: list[str]) -> None:
    """Raise UserError for plugins that stand in a configuration file, which is read after they are loaded."""
    if manager.listed(args.extensions) != plugins:
        raise UserError(f"--extensions={args.extensions} stands in a configuration file; give it in the launcher")


def of_their_kinds(args: argparse.Namespace, plugins: list[str]) -> None:
    """Bring what a configuration file says of plugins' flags to its kind, which argparse does with words alone."""
    for flag in manager.flags_of(plugins):
        value = getattr(args, flag.name)
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and value != flag.default:
            setattr(args, flag.name, flag.value_of(str(value)))
