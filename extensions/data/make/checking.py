"""Reads and checks all texts before the first image is encoded, a part of the images at a time.

What was read is kept in the work folder until the part's images are encoded: the metadata have the texts that were
checked, and each file is read once.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from extensions.base.errors import UserError
from extensions.base.saving import replacing, write_text, writing
from extensions.data import parallel
from extensions.data.make import texts
from extensions.data.make.images import Found
from extensions.data.make.left_out import row
from extensions.data.make.pixels import BadImage, require_file
from extensions.data.make.sidecars import BadText
from extensions.data.make.wish import GOES_ON, METADATA, STOP, TEXTS, WORK, Part, Wish

BAD_TEXTS = "bad_texts.jsonl"
TEXT_KIND = "text cannot be read"
SAID = re.compile(rb'"(?:tags|caption)": "[^"]')  # as our metadata have a text that is not empty
BLOCK = 1 << 22


@dataclass(frozen=True)
class Task:
    """The texts of one part. given: (tags, caption) from a metadata file; None: sidecars."""

    part: Part
    given: list[tuple[str, str]] | None


class Checked(NamedTuple):
    """What was seen of some images: how many have no text, how many a bad one, and what is wrong with one."""

    without: int
    bad: int
    example: str


class Known(NamedTuple):
    """One image's texts, and what is wrong with it: (kind, reason), "" for nothing."""

    tags: str | None
    caption: str | None
    kind: str = ""
    reason: str = ""


def check(wish: Wish, found: Found) -> int:
    """Read all texts; how many images have none. UserError where one is bad and BAD is STOP, or all get lost."""
    seen = list(parallel.run(look, tasks(wish, found), wish.jobs, len(found.ids), "reading texts"))
    without, bad = sum(each.without for each in seen), sum(each.bad for each in seen)
    if bad and wish.bad == STOP:
        listed = wish.out / BAD_TEXTS
        with writing(wish.out, GOES_ON):
            write_bad(wish, found, listed)
        example = next(each.example for each in seen if each.bad)
        raise UserError(f"{example}; {bad:,} such, all in {listed}; BAD=skip leaves their images out")
    (wish.out / BAD_TEXTS).unlink(missing_ok=True)
    tell(wish, without, len(found.ids))
    return without


def tasks(wish: Wish, found: Found) -> Iterator[Task]:
    """Yield the parts with what a metadata file has for them."""
    given = None
    if wish.texts:
        with writing(wish.out, GOES_ON):
            batches = texts.read(wish.texts, wish.out / WORK, wish.ids)
        given = texts.matched(wish.texts, batches, found.ids, wish.ids, wish.images)
    for part, chosen in parts(wish, found):
        yield Task(part, given.of(chosen) if given else None)


def parts(wish: Wish, found: Found) -> Iterator[tuple[Part, np.ndarray]]:
    """Yield (a part, the positions of its images), one at a time."""
    for number, chosen in found.parts():
        names = (column.take(pa.array(chosen)).to_pylist() for column in (found.ids, found.paths))
        yield Part(wish, number, *names), chosen


def look(task: Task) -> Checked:
    """Read the texts of a part and keep them."""
    part, without, bad, example = task.part, 0, 0, ""
    known = []
    for position, path in enumerate(part.paths):
        said = known_of(task, position, part.wish.images / path)
        known.append(said)
        without += not (said.tags or said.caption)
        bad += bool(said.kind)
        example = example or said.reason
        parallel.tick()
    with writing(part.wish.out, GOES_ON):
        write_text(part.file(TEXTS), json.dumps(known, ensure_ascii=False))
    return Checked(without, bad, example)


def known_of(task: Task, position: int, image: Path) -> Known:
    """Return the texts of an image, or what is wrong with them."""
    try:
        require_file(image)
        if task.given is None:
            return Known(*task.part.wish.sidecars.texts(image))
        tags, caption = task.given[position]
        return Known(tags or None, caption or None)
    except BadImage as error:
        return Known(None, None, error.kind, str(error))
    except BadText as error:
        return Known(None, None, TEXT_KIND, str(error))


def kept(part: Part) -> list[Known]:
    """Return the texts of a part as they were checked."""
    return [Known(*each) for each in json.loads(part.file(TEXTS).read_text(encoding="utf-8"))]


def write_bad(wish: Wish, found: Found, listed: Path) -> None:
    """List every image whose text is bad, with the reason."""
    with replacing(listed) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for part, _ in parts(wish, found):
            named = zip(part.paths, part.ids, kept(part), strict=True)
            file.writelines(row(path, key, said.kind, said.reason) for path, key, said in named if said.kind)


def tell(wish: Wish, without: int, images: int) -> None:
    """Say how many images have no text, loudly where that are all. UserError where OUT would lose its texts."""
    if without < images:
        print(f"{without:,} of {images:,} images have no text", flush=True)
        return
    sought = f"in {wish.texts}" if wish.texts else f"beside them ({' and '.join(filter(None, suffixes(wish)))})"
    said = f"none of the {images:,} images has a text {sought}"
    if had_texts(wish.out / METADATA):
        raise UserError(
            f"{said}, but {wish.out / METADATA} has texts, which would be lost; give TEXTS=, TAGS= or CAPTION="
        )
    print(f"WARNING: {said}: what trains on them learns no words; give TEXTS=, TAGS= or CAPTION=", file=sys.stderr)


def suffixes(wish: Wish) -> tuple[str, str]:
    """Return the suffixes of the texts that are looked for."""
    return wish.sidecars.tags, wish.sidecars.caption


def had_texts(metadata: Path) -> bool:
    """Tell whether earlier metadata of ours have any text, by their bytes: they may be gigabytes."""
    if not metadata.is_file():
        return False
    before = b""
    with open(metadata, "rb") as file:
        while block := file.read(BLOCK):
            if SAID.search(before + block):
                return True
            before = block[-32:]
    return False
