"""Checks the file of --config_file before upstream reads it: it takes any key and value, and says nothing of either.

What stands there passes argparse by: a text in a number's place ends in a traceback, and `full_bf16 = "false"` is on.
"""

import argparse
import json
from difflib import get_close_matches
from pathlib import Path

import toml

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import kinds

SWITCHES = (argparse._StoreTrueAction, argparse._StoreFalseAction)


def check(path: str, parser: argparse.ArgumentParser) -> None:
    """Raise UserError for a file that is not there, is no TOML, or gives a flag that the trainer does not have.

    Or one of another kind than the flag takes.
    """
    file = kinds.config_file(Path(path))
    try:
        found = toml.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config_file={path}: {file} cannot be read ({error.strerror}); give another") from None
    except (UnicodeDecodeError, ValueError, IndexError, TypeError) as error:  # toml's own are among them
        why = str(error).partition("\n")[0]
        raise UserError(f"--config_file={path}: {file} is not TOML ({why}); mend it") from None
    known = {action.dest: action for action in parser._actions}
    for name, value in values(found):
        if name not in known:
            near = get_close_matches(name, sorted(known), n=1)
            advice = f"did you mean {near[0]}?" if near else "neither the trainer nor a listed plugin has it"
            raise UserError(f"--config_file={path}: unknown flag {name} in {file}; {advice}")
        if right := another_kind(known[name], value):
            shown = json.dumps(value, default=str, ensure_ascii=True)
            raise UserError(f"--config_file={path}: {name} = {shown[:60]} in {file} must be {right}")


def values(found: dict) -> list[tuple[str, object]]:
    """Return the flags in a file with their values: those of its sections, whose own names say nothing."""
    return [
        pair for key, value in found.items() for pair in (value if isinstance(value, dict) else {key: value}).items()
    ]


def another_kind(action: argparse.Action, value: object) -> str:
    """Return what a flag takes where a value of TOML is of another kind; "" where it is right.

    Numbers and choices of plugins' flags are theirs to look at, later (`arguments.of_their_kinds`).
    """
    if action.nargs in ("*", "+"):
        texts = isinstance(value, list) and all(isinstance(each, str) for each in value)
        return "" if texts else f'a list of texts, as in {action.dest} = ["first=1", "second=2"]'
    if isinstance(action, SWITCHES):
        return "" if isinstance(value, bool) else "true or false, without quotes"
    if isinstance(value, (list, dict)) or isinstance(value, bool) and action.nargs != "?":
        return "one value, no list, table, true or false"
    if action.dest in {flag.name for flag in manager.flags_of(manager.current().names)}:
        return ""
    return another_number(action, value)


def another_number(action: argparse.Action, value: object) -> str:
    """Return the same of a value that stands alone."""
    if action.type is int and not (isinstance(value, (int, float)) and value == value // 1):
        return "a whole number, without quotes"
    if action.type is float and not isinstance(value, (int, float)):
        return "a number, without quotes"
    if action.choices and action.type in (None, str, int, float) and value not in action.choices:
        return f"one of {', '.join(str(each) for each in action.choices if each is not None)}"
    return ""
