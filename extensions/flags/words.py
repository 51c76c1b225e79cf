"""Holds command-line flags as an ordered mapping that never changes: replacing or dropping one gives a new one."""

import shlex
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from extensions.base.errors import UserError


class Flags:  # noqa: PLW1641 - its values are lists, which have no hash
    """Flags by name (without dashes) in order; each value is the list of words after the flag."""

    def __init__(self, words: Iterable[str] = ()):
        values: dict[str, list[str]] = {}
        name = None
        for word in words:
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                values[name] = [value] if equals else []
            elif name is None:
                raise UserError(f"{word!r} stands before any flag; flags begin with --")
            else:
                values[name].append(word)
        self.values: Mapping[str, list[str]] = MappingProxyType(values)

    @classmethod
    def of_text(cls, text: str) -> "Flags":
        """Flags from one text, split as a shell would. UserError for unbalanced quotes."""
        try:
            return cls(shlex.split(text))
        except ValueError as error:
            raise UserError(f"ARGS={text!r} cannot be read: {error}") from None

    @classmethod
    def of(cls, values: Mapping[str, list[str]]) -> "Flags":
        """Flags from {name: words after it}."""
        made = cls()
        made.values = MappingProxyType(dict(values))
        return made

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Flags) and list(self.values.items()) == list(other.values.items())

    def get(self, name: str, default: str | None = None) -> str | None:
        """Return the flag's single value; "" for a switch that is set; `default` where the flag is absent."""
        if name not in self.values:
            return default
        return " ".join(self.values[name])

    def number(self, name: str, default: int = 0) -> int:
        """Return the flag's value as a whole number. UserError if it is none."""
        text = self.get(name)
        try:
            return default if text is None else int(text)
        except ValueError:
            raise UserError(f"--{name}={text} is not a whole number; see its line in the launcher") from None

    def with_(self, name: str, *words: object) -> "Flags":
        """These with one flag set, in its old place if it was there."""
        return Flags.of({**self.values, name: [str(word) for word in words]})

    def without(self, *names: str) -> "Flags":
        """These without some flags, whether or not they were there."""
        return Flags.of({name: words for name, words in self.values.items() if name not in names})

    def merged(self, other: "Flags") -> "Flags":
        """These with the other's, which win."""
        return Flags.of({**self.values, **other.values})

    def words(self) -> list[str]:
        """Back to a command line: `--name`, `--name=value`, or `--name a b`."""
        out = []
        for name, values in self.values.items():
            one = len(values) == 1
            out += [f"--{name}={values[0]}"] if one else [f"--{name}", *values]
        return out

    def as_dict(self) -> dict[str, str | bool | list[str]]:
        """For records: True for switches, a text for one value, a list for several."""
        return {name: True if not v else v[0] if len(v) == 1 else v for name, v in self.values.items()}
