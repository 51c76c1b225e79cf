"""Command-line flags as an ordered mapping, so that they can be read, replaced and told apart by name."""

import shlex

from extensions.base.errors import UserError


class Flags:
    """Flags by name (without dashes) in order; each value is the list of words after the flag."""

    def __init__(self, words: list[str] = ()):
        self.values: dict[str, list[str]] = {}
        name = None
        for word in words:
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                self.values[name] = [value] if equals else []
            elif name is None:
                raise UserError(f"{word!r} stands before any flag; flags begin with --")
            else:
                self.values[name].append(word)

    @classmethod
    def of_text(cls, text: str) -> "Flags":
        """Flags from one text, split as a shell would. UserError for unbalanced quotes."""
        try:
            return cls(shlex.split(text))
        except ValueError as error:
            raise UserError(f"ARGS={text!r} cannot be read: {error}") from None

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def get(self, name: str, default: str | None = None) -> str | None:
        """The flag's single value; "" for a switch that is set; `default` where the flag is absent."""
        if name not in self.values:
            return default
        return " ".join(self.values[name])

    def number(self, name: str, default: int = 0) -> int:
        """The flag's value as a whole number. UserError if it is none."""
        text = self.get(name)
        try:
            return default if text is None else int(text)
        except ValueError:
            raise UserError(f"--{name}={text} is not a whole number; see its line in the launcher") from None

    def put(self, name: str, *words: str) -> None:
        """Set a flag, in its old place if it was there."""
        self.values[name] = [str(word) for word in words]

    def drop(self, *names: str) -> list[str]:
        """Take flags away; the names of those that were there."""
        return [name for name in names if self.values.pop(name, None) is not None]

    def update(self, other: "Flags") -> None:
        """Let the other's flags win."""
        self.values.update(other.values)

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
