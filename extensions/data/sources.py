"""Reads a mixture: a TOML file, which --in_json names in the place of metadata, with a table for each of its sources.

    [[source]]
    name = "danbooru"                      # in messages and metrics
    in_json = "danbooru/meta_lat.json"     # metadata or an index; relative to this file
    train_data_dir = "danbooru/latents"    # --train_data_dir where it is left out
    repeats = 0.5                          # times that an epoch sees each image, on average (1)

    [[source]]
    name = "e621"
    in_json = "e621.index.arrow"
    train_data_dir = "e621/pack"
    first_step = 20001                     # optimizer steps that it takes part in, counted from 1 (all)
    last_step = 60000

`weight` in the place of `repeats`, in all sources: an epoch has as many samples as there are images, shared out in
proportion. While a source takes no part, the others share its place in proportion.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import toml

from extensions.base.errors import UserError, printable

SUFFIX = ".toml"
LONGEST = 1 << 20  # bytes of a file of sources
MOST = 256  # sources
KINDS: dict[str, Any] = {
    "name": str, "in_json": str, "train_data_dir": str, "repeats": (int, float), "weight": (int, float),
    "first_step": int, "last_step": int,
}  # fmt: skip


@dataclass(frozen=True)
class Source:
    """A source as it is asked for. repeats, weight: one is None. first_step, last_step: optimizer steps, from 1, both
    among those that it takes part in; last_step None: to the end.
    """

    name: str
    metadata: Path
    folder: Path
    repeats: float | None = 1.0
    weight: float | None = None
    first_step: int = 1
    last_step: int | None = None

    @property
    def words(self) -> str:
        """What of it makes other data, beside its images."""
        return f"{self.name}:{self.repeats}:{self.weight}:{self.first_step}:{self.last_step}"

    def takes_part(self, step: int) -> bool:
        """Tell whether an optimizer step, counted from 0, reads it."""
        return self.first_step - 1 <= step and (self.last_step is None or step < self.last_step)


def is_mixture(metadata: str | Path | None) -> bool:
    """Tell whether --in_json names a mixture."""
    return str(metadata or "").endswith(SUFFIX)


def read(path: str | Path, folder: str | Path | None) -> tuple[Source, ...]:
    """Return the sources of a mixture. UserError in one line for what cannot be meant.

    folder: of the latents, for sources that name none.
    """
    path = Path(path)
    rows = tables(path)
    found = [source(path, number, row, folder) for number, row in enumerate(rows, start=1)]
    names = [each.name for each in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"{path}: two sources are named {twice}; give each a name of its own")
    if len({each.weight is None for each in found}) > 1:
        raise UserError(f"{path}: some sources have a weight and some have none; give all a weight, or all repeats")
    require_covered(path, found)
    return tuple(found)


def tables(path: Path) -> list[dict[str, Any]]:
    """Return the tables of the file."""
    try:
        if path.stat().st_size > LONGEST:
            raise UserError(f"{path} has more than {LONGEST:,} bytes; a mixture names its sources and nothing else")
        made = toml.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UserError(f"no such mixture: {path}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); mend that, or name another") from None
    except UnicodeError:
        raise UserError(f"{path} is not UTF-8; save it as that") from None
    except (ValueError, IndexError, TypeError, RecursionError) as error:  # toml's own are among them
        raise UserError(f"{path} is no TOML ({str(error).partition(chr(10))[0]}); mend it") from None
    rows = made.get("source")
    if set(made) != {"source"} or not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is made of [[source]] tables and nothing else")
    if not 0 < len(rows) <= MOST:
        raise UserError(f"{path} has {len(rows):,} sources; give 1 to {MOST}")
    return rows


def source(path: Path, number: int, row: dict[str, Any], folder: str | Path | None) -> Source:
    """Return one source."""
    where = f"{path}, source {number}"
    if odd := sorted(set(row) - set(KINDS)):
        raise UserError(f"{where}: {printable(odd[0])} is unknown; there are {', '.join(KINDS)}")
    for name, kind in KINDS.items():
        if name in row and (not isinstance(row[name], kind) or isinstance(row[name], bool)):
            raise UserError(
                f"{where}: {name} is {printable(repr(row[name]))[:60]}, of another kind; see docs/data.md"
            )
    for name in ("name", "in_json"):
        if not row.get(name):
            raise UserError(f"{where} has no {name}; give it one")
    if not row["name"].isprintable() or len(row["name"]) > 60:
        raise UserError(f"{where}: name is longer than 60 letters, or has some that do not print; give a plain one")
    latents = row.get("train_data_dir") or folder
    if not latents:
        raise UserError(f"{where} has no train_data_dir, and the run none; give one of them")
    repeats = None if "weight" in row else float(row.get("repeats", 1))
    weight = float(row["weight"]) if "weight" in row else None
    if "weight" in row and "repeats" in row:
        raise UserError(f"{where} has repeats and a weight; give one of them")
    share = weight if repeats is None else repeats
    if share is None or not 0 < share <= 1e6:
        raise UserError(f"{where}: {'weight' if repeats is None else 'repeats'} is {share}; give a number above 0")
    first, last = row.get("first_step", 1), row.get("last_step")
    if first < 1 or (last is not None and last < first):
        raise UserError(f"{where}: optimizer steps {first} to {last} are none; they are counted from 1")
    base = path.parent
    named = base / latents if row.get("train_data_dir") else Path(latents)
    return Source(row["name"], base / row["in_json"], named, repeats, weight, first, last)


def require_covered(path: Path, found: list[Source]) -> None:
    """Raise UserError for an optimizer step that no source takes part in."""
    for step in sorted({0, *(each.last_step for each in found if each.last_step is not None)}):
        if not any(each.takes_part(step) for each in found):
            raise UserError(
                f"{path}: no source takes part in optimizer step {step + 1:,}; let one go on, or begin then"
            )
