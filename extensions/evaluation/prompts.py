"""Reads the prompts that a run draws: a line each, as sd-scripts has them, or TOML.

    a red fox in snow --n blurry, text --w 832 --h 1216 --s 28 --l 6 --d 42

    [[prompt]]
    text = "a red fox in snow"
    negative = "blurry, text"
    width = 832
    height = 1216
    steps = 28
    guidance = 6
    seed = 42

Empty lines and those that begin with # are passed over. What is not said is SIZE, STEPS, GUIDANCE, and a seed by the
place in the file.
"""

import re
from dataclasses import dataclass, fields
from pathlib import Path

import toml

from extensions.base.errors import UserError, printable
from extensions.flags import values

STEPS, GUIDANCE = 28, 6.0
SIZE = {"sdxl": 1024, "sd2": 768}  # pixels, either side
LONGEST = 64 << 10  # bytes of a file of prompts
SHORT = {"n": "negative", "w": "width", "h": "height", "s": "steps", "l": "guidance", "d": "seed"}
OPTION = re.compile(r"\s--([a-z]+)(?:\s+|$)", re.IGNORECASE)


def side(text: str) -> int:
    """Return pixels of a side, a multiple of 8. ValueError for none."""
    pixels = values.whole(8, 8192)(text)
    if pixels % 8:
        raise ValueError("not a multiple of 8")
    return pixels


KINDS = {
    "width": side, "height": side, "steps": values.whole(1, 1000), "guidance": values.at_least(0),
    "seed": values.whole(0, 2**63 - 1), "text": str, "negative": str,
}  # fmt: skip


@dataclass(frozen=True)
class Prompt:
    """One image to draw. guidance: classifier-free, 1 or less draws without a negative prompt."""

    text: str
    width: int
    height: int
    negative: str = ""
    steps: int = STEPS
    guidance: float = GUIDANCE
    seed: int = 0


def read(path: Path, family: str) -> list[Prompt]:
    """Return the prompts of a file. UserError naming the line, or the place in the TOML, for what cannot be meant."""
    try:
        if path.stat().st_size > LONGEST:
            raise UserError(f"{path} has more than {LONGEST:,} bytes; give a file of prompts")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(
            f"--sample_prompts={path} cannot be read ({error.strerror}); give a file of prompts"
        ) from None
    except UnicodeError:
        raise UserError(f"--sample_prompts={path} is not UTF-8; save it as that") from None
    rows = _of_toml(path, text) if path.suffix.lower() == ".toml" else _of_lines(path, text)
    if not rows:
        raise UserError(f"--sample_prompts={path} has no prompt; write one a line")
    return [_prompt(where, given, family, number) for number, (where, given) in enumerate(rows)]


def _of_lines(path: Path, text: str) -> list[tuple[str, dict[str, str]]]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        first, *options = OPTION.split(f" {line.strip()}" if line.startswith("--") else line.strip())
        given = {"text": first.strip()}
        for name, value in zip(options[::2], options[1::2], strict=True):
            if name.lower() not in SHORT:
                raise UserError(f"{path}, line {number}: --{name} is unknown; there are {', '.join(SHORT)}")
            given[SHORT[name.lower()]] = value.strip()
        rows.append((f"{path}, line {number}", given))
    return rows


def _of_toml(path: Path, text: str) -> list[tuple[str, dict[str, str]]]:
    try:
        found = toml.loads(text)
    except (ValueError, IndexError, TypeError, RecursionError) as error:  # toml's own are among them
        raise UserError(f"{path} is no TOML ({str(error).partition(chr(10))[0]}); mend it") from None
    rows = found.get("prompt")
    if set(found) - {"prompt"} or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is made of [[prompt]] tables and nothing else")
    known = {field.name for field in fields(Prompt)}
    for number, row in enumerate(rows, start=1):
        if odd := sorted(set(row) - known):
            raise UserError(f"{path}, prompt {number}: {printable(odd[0])} is unknown; there are {', '.join(known)}")
    return [(f"{path}, prompt {n}", {k: str(v) for k, v in row.items()}) for n, row in enumerate(rows, start=1)]


def _prompt(where: str, given: dict[str, str], family: str, number: int) -> Prompt:
    made = {"text": "", "width": SIZE[family], "height": SIZE[family], "seed": number}
    for name, text in given.items():
        try:
            made[name] = KINDS[name](text)
        except ValueError as error:
            raise UserError(f"{where}: {name} {printable(text)!r} is {error}") from None
    return Prompt(**made)
