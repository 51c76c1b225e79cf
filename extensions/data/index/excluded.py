"""Reads ids that are not to be trained on from files, one a line: `corrupt.txt` as `make check-data` writes it.

An index keeps which lists it was made with and what was in them. While a list is where it was, it must say the same;
one that is gone changes nothing, for the index holds what it said.
"""

import json
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import xxhash

from extensions.base.errors import UserError
from extensions.base.processes import is_first
from extensions.data import ids
from extensions.data.index.layout import Facts, Listed, beside
from extensions.data.index.reader import Index, Unusable


def read(paths: list[Path]) -> tuple[list[Listed], np.ndarray]:
    """Return (the lists, the sorted hashes of all their ids, uint64, each once); 8 bytes an id.

    UserError: not readable.
    """
    lists, found = [], array("Q")
    for path in paths:
        before, hasher = len(found), xxhash.xxh3_128()
        try:
            with open(path, "rb") as file:
                found.extend(xxhash.xxh3_64_intdigest(key) for key in ids.keys_of(path, hashed(file, hasher)))
        except OSError as error:
            raise UserError(
                f"no list of ids can be read at {path} ({error.strerror}); give EXCLUDE= a file with an id a line, "
                "such as the corrupt.txt of make check-data"
            ) from None
        lists.append(Listed(str(path.resolve()), len(found) - before, hasher.hexdigest()))
    return lists, np.unique(np.frombuffer(found, np.uint64))


def hashed(lines: Iterable[bytes], hasher) -> Iterator[bytes]:
    """Yield lines that have gone into a checksum."""
    for line in lines:
        hasher.update(line)
        yield line


def lists_of(index: Path) -> list[Path]:
    """Return the lists of ids that an index was made without; of one that cannot be read, as its report has them."""
    try:
        return [Path(each.path) for each in Index(index).facts.excluded]
    except Unusable:
        return [Path(each["path"]) for each in reported(index).get("excluded") or []]


def fields_of(index: Path) -> list[str]:
    """Return the other fields that an index has columns of; of one that cannot be read, as its report has them."""
    try:
        return [each.name for each in Index(index).facts.fields]
    except Unusable:
        return reported(index).get("fields") or []


def reported(index: Path) -> dict:
    """Return the report beside an index; empty without one."""
    try:
        return json.loads(beside(index, "report.json", hidden=False).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def changed(facts: Facts) -> Path | None:
    """Return a list that an index was made with, where it is at hand and says something else now."""
    paths = ((Path(made.path), made.digest) for made in facts.excluded)
    return next((path for path, digest in paths if path.is_file() and read([path])[0][0].digest != digest), None)


def require_unchanged(index: Path, facts: Facts) -> None:
    """Raise UserError where one changed."""
    if path := changed(facts):
        raise UserError(
            f"{path} changed after {index} was made without its ids; make the index again "
            "(make index META=… DATA=… EXCLUDE=…), or put the list back"
        )


def tell(index: Path, facts: Facts) -> None:
    """Say that images are left out, once a launch."""
    if facts.excluded and is_first():
        count = facts.left_out.get("excluded", 0)
        print(f"{index.name} leaves out {count:,} images that are listed in {names(facts.excluded)}", flush=True)


def names(lists: list[Listed]) -> str:
    """Return the lists for a line of text."""
    return ", ".join(each.path for each in lists)
