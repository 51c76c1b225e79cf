"""Says what a blend is: of which checkpoints, and in which shares; strings in, nothing is read.

    blend(A, B, RATIO)       (1 - RATIO) A + RATIO B
    blend(A, B, C, RATIO)    A + RATIO (B - C), the difference of two added to a third

The first is WiSE-FT's line between two models (arXiv 2109.01903) and A1111's "weighted sum", the second its "add
difference", with its multiplier. A name is a file, the number of a run for its last checkpoint, `<run>@<step>` for
that of an optimizer step, or `base` for what the run beside it began with.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath

from extensions.base.errors import UserError
from extensions.flags import values

BASE = "base"
FOLDER = "model_out_"  # and the number of the run whose checkpoints are in it
CALLED = re.compile(r"\s*blend\s*\((?P<inside>.*)\)\s*", re.DOTALL)
RUN = re.compile(r"(?:model_out_)?(?P<run>\d{6,12})(?:@(?P<step>\d{1,12}))?")
GIVE = "give blend(A, B, RATIO), or blend(A, B, C, RATIO) for A + RATIO (B - C)"
LONGEST = 60  # characters of a name in the name of a file


@dataclass(frozen=True)
class Blend:
    """names: of two parents, or of three for a difference; ratio: 0 is the first alone."""

    names: tuple[str, ...]
    ratio: float

    @property
    def factors(self) -> tuple[float, ...]:
        """What each parent is multiplied by."""
        return factors(self.ratio, len(self.names))

    @property
    def text(self) -> str:
        """The blend as it is written in a launcher; the same for each way to write it."""
        return f"blend({', '.join(self.names)}, {self.ratio:g})"

    @property
    def file_name(self) -> str:
        """A name for its file: readable, and another for each blend."""
        plain = "-".join([*(re.sub(r"[^\w.@]+", "_", stem(name)) for name in self.names), f"{self.ratio:g}"])
        return f"blend-{plain[-LONGEST:]}-{hashlib.sha256(self.text.encode()).hexdigest()[:8]}"


def factors(ratio: float, parents: int) -> tuple[float, ...]:
    """Return what each of two or three parents is multiplied by."""
    return (1.0, ratio, -ratio) if parents == 3 else (1 - ratio, ratio)


def stem(name: str) -> str:
    """Return a name without folders and ending."""
    return name.rpartition("/")[2].removesuffix(".safetensors")


def is_blend(text: str | None) -> bool:
    """Tell whether the value of a flag is a blend, well formed or not, and no path."""
    return bool(text and re.match(r"\s*blend\s*\(", text))


def of_text(text: str, where: str) -> Blend:
    """Return the blend that a text names. UserError, naming `where`, for one that is malformed."""
    found = CALLED.fullmatch(text)
    words = [word.strip() for word in found["inside"].split(",")] if found else []
    if not 3 <= len(words) <= 4:
        more = " (a path with a comma cannot be named there)" if len(words) > 4 else ""
        raise UserError(f"{where}={text} is no blend; {GIVE}{more}")
    return made(tuple(words[:-1]), ratio_of(words[-1], where), where)


def made(names: tuple[str, ...], ratio: float, where: str) -> Blend:
    """Return a blend. UserError for names that are missing, and for a base of nothing."""
    if not all(names):
        raise UserError(f"{where}: a parent is missing; {GIVE}")
    if BASE in names and not any(run_of(name) or "/" in name or name.endswith(".safetensors") for name in names):
        raise UserError(f"{where}: {BASE} is what the run beside it began with; name that run, or the base's file")
    if names.count(BASE) > 1:
        raise UserError(f"{where}: {BASE} is named twice; give each parent once")
    return Blend(names, ratio)


def ratio_of(text: str, name: str) -> float:
    """Return a ratio. UserError for anything but a number from 0 to 1."""
    try:
        return values.probability(text)
    except ValueError:
        raise UserError(f"{name}: {text} is no ratio from 0 (the first alone) to 1; give e.g. 0.5") from None


def run_of(name: str) -> tuple[str, int | None] | None:
    """Return (run, optimizer step or None for the last checkpoint) of a name; None where it names no run."""
    found = RUN.fullmatch(name)
    return (found["run"], int(found["step"]) if found["step"] else None) if found else None


def run_beside(path: str | PurePath) -> str:
    """Return the run in whose folder of checkpoints a file lies; "" where it lies in none."""
    folder = PurePath(path).parent.name
    found = run_of(folder) if folder.startswith(FOLDER) else None
    return found[0] if found else ""
