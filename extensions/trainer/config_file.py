"""Checks the file of --config_file before upstream reads it: it takes any key, and says nothing of one it has not."""

import argparse
from difflib import get_close_matches
from pathlib import Path

import toml

from extensions.base.errors import UserError
from extensions.flags import kinds


def check(path: str, parser: argparse.ArgumentParser) -> None:
    """Raise UserError for a file that is not there, is no TOML, or gives a flag that the trainer does not have."""
    file = kinds.config_file(Path(path))
    try:
        found = toml.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"--config_file={path}: {file} cannot be read ({error.strerror}); give another") from None
    except (UnicodeDecodeError, ValueError, IndexError, TypeError) as error:  # toml's own are among them
        why = str(error).partition("\n")[0]
        raise UserError(f"--config_file={path}: {file} is not TOML ({why}); mend it") from None
    known = {action.dest for action in parser._actions}
    for name in names(found):
        if name not in known:
            near = get_close_matches(name, sorted(known), n=1)
            advice = f"did you mean {near[0]}?" if near else "neither the trainer nor a listed plugin has it"
            raise UserError(f"--config_file={path}: unknown flag {name} in {file}; {advice}")


def names(found: dict) -> list[str]:
    """Return the flags in a file: those of its sections, whose own names say nothing."""
    return [name for key, value in found.items() for name in (value if isinstance(value, dict) else [key])]
