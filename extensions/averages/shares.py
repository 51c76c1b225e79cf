"""Reads what the ranks of a run have kept together of averages: a folder of their shares, and what it says of itself.

Every piece is read against its checksum, as it is needed: the whole is hundreds of gigabytes.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import xxhash

from extensions.averages import files
from extensions.averages.pieces import Place
from extensions.base.errors import UserError
from extensions.base.sealed import opened

DESCRIBED = "described.json"


@dataclass(frozen=True)
class Kept:
    """One folder of shares, and what it says of itself."""

    path: Path
    facts: dict[str, Any]

    @property
    def step(self) -> int:
        """Optimizer step of the last update in it."""
        return self.facts["updated"]


def checksum(tensor: torch.Tensor) -> str:
    """xxh3-64 of a tensor's bytes, in hexadecimal."""
    return xxhash.xxh3_64_hexdigest(files.raw(tensor))


def read(path: Path) -> Kept:
    """Return what a folder of shares says of itself. UserError for one that is damaged."""
    try:
        facts = opened(json.loads((path / DESCRIBED).read_bytes()))
        for name, entry in facts["files"].items():
            if (path / name).stat().st_size != entry["bytes"]:
                raise ValueError(f"{name} has another size")
        return Kept(path, facts)
    except OSError as error:
        raise UserError(
            f"{path} is damaged ({error.strerror}: {Path(error.filename or '').name}); remove it"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); remove it to do without") from None


class Shares:
    """Reads elements out of a folder of shares, a piece at a time, each against its checksum."""

    def __init__(self, kept: Kept):
        self.kept = kept
        self.places: dict[str, list[tuple[Place, str, files.Tensors]]] = {}
        self.open = []
        for name in kept.facts["files"]:
            file = open(kept.path / name, "rb", buffering=0)
            self.open.append(file)
            try:
                header, start = files.Header.read(file)
                for own in header.entries:
                    place = Place.of_name(own.partition("@")[2])
                    entry = (place, own, files.Tensors(file, header, start))
                    self.places.setdefault(self.key(own.partition("@")[0], place.key), []).append(entry)
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise self.damaged(str(error)) from None

    @staticmethod
    def key(what: str, key: str) -> str:
        return f"{what}@{key}"

    def damaged(self, why: str) -> UserError:
        """In one line, that it is, and what to do."""
        return UserError(f"{self.kept.path} is damaged ({why}); remove it to do without")

    def all(self, what: str) -> list[Place]:
        """Return the places of all its tensors of a kind."""
        return [place for key, found in self.places.items() for place, own, _ in found if own.startswith(f"{what}@")]

    def get(self, what: str, place: Place) -> torch.Tensor:
        """Return these elements; differences in fp32. UserError where they are damaged, or not there."""
        found, done = None, 0
        for other, own, tensors in self.places.get(self.key(what, place.key), ()):
            first, end = place.common(other)
            if first >= end:
                continue
            content = self.checked(own, tensors)
            found = torch.empty(place.count, dtype=content.dtype) if found is None else found
            place.part(found, first, end).copy_(other.part(content, first, end))
            done += end - first
        if found is None or done != place.count:
            raise self.damaged(f"it has not all of {place.key}")
        return found

    def checked(self, own: str, tensors: files.Tensors) -> torch.Tensor:
        """Read a piece against its checksum."""
        try:
            content = tensors.get(own)
            entry = next(each for each in self.kept.facts["files"].values() if own in each["pieces"])
            if entry["pieces"][own] != checksum(content):
                raise ValueError(f"another checksum of {own}")
            if own in entry["scales"]:
                content = content.float() * entry["scales"][own]
        except (ValueError, KeyError, TypeError, OSError, StopIteration) as error:
            raise self.damaged(str(error)) from None
        return content

    def __enter__(self) -> "Shares":
        return self

    def __exit__(self, *_) -> None:
        for file in self.open:
            file.close()
