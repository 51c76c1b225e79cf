"""Declares a plugin's flags as data, for the parsers of both trainers, the launcher and the planner."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import values


@dataclass(frozen=True)
class Flag:
    """One flag of a plugin, without its dashes.

    kind: of flags/values.py, or `str`; bool: a switch. choices: the only values, if there are some. unit: of a
    number. neutral: it changes no weight, so that a run that is resumed may give another value. off: of a
    flag that draws what a sample's text becomes, the value with which it draws nothing: for whoever evaluates.
    of_data: it speaks of what the run's own data have, and stand-ins have not.
    """

    name: str
    kind: Callable[[str], Any]
    help: str
    default: Any = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    neutral: bool = False
    off: Any = None
    of_data: bool = False

    def add_to(self, group: argparse._ArgumentGroup) -> None:
        """Add the flag to a trainer's parser."""
        described = (f"{self.help} ({self.unit})" if self.unit else self.help).replace("%", "%%")
        if self.kind is bool:
            group.add_argument(f"--{self.name}", action="store_true", help=described)
            return
        more = {"choices": self.choices} if self.choices else {"type": self.typed}
        group.add_argument(f"--{self.name}", default=self.default, help=described, **more)

    def typed(self, text: str):
        """argparse's `type`."""
        try:
            return self.kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is {error}") from None

    def value_of(self, text: str | None):
        """Return the value of a launcher's text; the default where the flag is absent.

        UserError for none of its kind.
        """
        if text is None:
            return False if self.kind is bool else self.default
        if self.kind is bool:
            return True
        if self.choices and text not in self.choices:
            kinds = f"not one of {', '.join(self.choices)}"
            return values.parsed(f"--{self.name}", text, _refuse(kinds))
        return values.parsed(f"--{self.name}", text, self.kind)


def _refuse(why: str) -> Callable[[str], Any]:
    def kind(_text: str):
        raise ValueError(why)

    return kind


def check(plugins: Iterable[str], given: Callable[[str], bool]) -> None:
    """Raise UserError for a flag that a listed plugin excludes. given: whether a flag, without dashes, is set."""
    for name in plugins:
        for flag, why in getattr(manager.declared(name), "excludes", {}).items():
            if given(flag):
                raise UserError(f"--{flag} and the plugin {name} exclude each other: {why}; drop one of them")
