"""Encodes a folder of images as latents and metadata: python -m extensions.data.make.encode (make latents).

    OUT/latents/<id>.npz     one an image
    OUT/meta_lat.json        of all images, once all are encoded; its order depends on the ids alone
    OUT/prepared/            a ledger a part of the images: a call that was killed goes on image by image

Buckets are those of the recorded sets (`buckets.historical`). Texts come from sidecars of the image (`a.txt` tags,
`a.caption` caption), or from a metadata file.
"""

import enum
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import typer

from extensions.base.errors import UserError
from extensions.base.reporting import exit_with
from extensions.base.saving import replacing, write_text, writing
from extensions.data import parallel
from extensions.data.buckets import SD2_AREA, SDXL_AREA, Rule, historical
from extensions.data.index import open_for
from extensions.data.make import images, vae
from extensions.data.make.images import Found, Sidecars
from extensions.data.make.prepare import BadImage, Ledger, Recipe, Source, encoded, entry_of
from extensions.model import checkpoint

AREAS = {"sdxl": SDXL_AREA, "sd2": SD2_AREA}
STOP, SKIP = "stop", "skip"
GOES_ON = "make room, then the same command again goes on"
METADATA, WORK, LEFT_OUT = "meta_lat.json", "prepared", "left_out.txt"
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Bad(str, enum.Enum):
    """What becomes of an image that cannot be read."""

    stop = STOP
    skip = SKIP


@dataclass(frozen=True)
class Wish:
    """What is asked for. texts: a metadata file in place of sidecars; bad: what becomes of an image that cannot be
    read, STOP or SKIP; jobs: processes."""

    images: Path
    out: Path
    model: Path
    texts: Path | None = None
    sidecars: Sidecars = Sidecars()
    bad: str = STOP
    jobs: int = 1

    def file(self, part: int, suffix: str) -> Path:
        """Return a file of a part's work: its ledger, its piece of the metadata, its list of images left out."""
        return self.out / WORK / f"{part:04}.{suffix}"


@dataclass(frozen=True)
class Task:
    """One part of the images. paths: below the folder of images; texts: (tags, caption); None: sidecars."""

    wish: Wish
    part: int
    paths: list[str]
    texts: list[tuple[str, str]] | None
    rule: Rule
    encoder: str

    def sources(self) -> Iterator[Source]:
        """Yield the images with their texts."""
        for position, name in enumerate(self.paths):
            path = self.wish.images / name
            if self.texts is None:
                yield self.wish.sidecars.source(path)
            else:
                tags, caption = self.texts[position]
                yield Source(path.stem, path, tags or None, caption or None)


def encode(wish: Wish) -> tuple[int, int]:
    """Encode what is new or changed and write the metadata; (images in it, images left out).

    UserError: no images, an id twice, no autoencoder, other metadata in the way, disk full, a bad image with STOP.
    """
    if (wish.out / METADATA).exists() and not (wish.out / WORK).is_dir():
        raise UserError(f"{wish.out / METADATA} was not written by `make latents`; give another OUT, or move it away")
    family = checkpoint.read_header(wish.model).family
    if family not in AREAS:
        raise UserError(f"{wish.model} is {checkpoint.FAMILIES[family]}; give an SDXL or SD2 checkpoint")
    rule, encoder = historical(AREAS[family]), vae.digest(wish.model)
    found = images.find(wish.images)
    with writing(wish.out, GOES_ON):
        for folder in (wish.out / "latents", wish.out / WORK):
            folder.mkdir(parents=True, exist_ok=True)
    tasks = list_tasks(wish, found, rule, encoder)
    for _ in parallel.run(work, tasks, wish.jobs, len(found.ids), "encoding"):
        pass
    with writing(wish.out, GOES_ON):
        left = join(wish, np.unique(found.part).tolist())
    return len(found.ids) - left, left


def list_tasks(wish: Wish, found: Found, rule: Rule, encoder: str) -> Iterator[Task]:
    """Yield the work of each part, one at a time."""
    texts = open_for(wish.texts, None) if wish.texts else None
    rows = pc.index_in(found.ids, value_set=pa.chunked_array(texts.keys(), pa.string())) if texts else None
    for part, chosen in found.parts():
        positions = pa.array(chosen)
        given = None
        if texts and rows is not None:
            samples = (None if row is None else texts[row] for row in rows.take(positions).to_pylist())
            given = [("", "") if sample is None else (sample.tags, sample.caption) for sample in samples]
        yield Task(wish, part, found.paths.take(positions).to_pylist(), given, rule, encoder)


def work(task: Task) -> None:
    """Encode a part: npz files, then its piece of the metadata and what was left out."""
    wish = task.wish
    recipe = Recipe(partial(encode_one, str(wish.model), wish.jobs), task.rule, task.encoder)
    entries, left_out = {}, []
    with writing(wish.out, GOES_ON):
        with Ledger(wish.file(task.part, "jsonl")) as ledger:
            for source in task.sources():
                try:
                    entries[source.id] = entry_of(source, encoded(source, wish.out / "latents", recipe, ledger))
                except BadImage as error:
                    if wish.bad == STOP:
                        raise UserError(f"{error}; BAD=skip leaves such images out") from None
                    left_out.append(f"{source.id}\n")
                parallel.tick()
        write_text(wish.file(task.part, "left_out"), "".join(left_out))
        write_text(wish.file(task.part, "json"), json.dumps(entries, ensure_ascii=False, indent=1))


def encode_one(model: str, jobs: int, pixels: np.ndarray) -> np.ndarray:
    """Latents of one image, with this process's autoencoder."""
    return vae.encode(autoencoder(model, jobs), pixels)


@lru_cache(maxsize=1)
def autoencoder(model: str, jobs: int):
    """Loaded at the first image that needs it: on a GPU by turns, else on this process's share of the cores."""
    import torch

    loaded = vae.load(model)
    if torch.cuda.is_available():
        return loaded.to(f"cuda:{parallel.worker() % torch.cuda.device_count()}")
    torch.set_num_threads(max(1, len(os.sched_getaffinity(0)) // jobs))
    return loaded


def join(wish: Wish, parts: list[int]) -> int:
    """Return the parts' pieces as one metadata file and one list of what was left out; how many these are."""
    with replacing(wish.out / METADATA) as temporary, open(temporary, "wb") as file:
        between = b"{"
        for part in parts:
            inner = wish.file(part, "json").read_bytes().strip()[1:-1].rstrip()
            if inner:
                file.write(between + inner)
                between = b","
        file.write(b"\n}\n" if between == b"," else b"{}\n")
    left = 0
    with replacing(wish.out / LEFT_OUT) as temporary, open(temporary, "wb") as file:
        for part in parts:
            lines = wish.file(part, "left_out").read_bytes()
            left += lines.count(b"\n")
            file.write(lines)
    return left


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(metavar="IMAGES", help="folder of images, searched below, too")],
    out: Annotated[Path, typer.Argument(help="folder for latents/ and meta_lat.json")],
    model: Annotated[Path, typer.Argument(help="checkpoint whose autoencoder encodes")],
    texts: Annotated[Path | None, typer.Option(help="metadata or an index with the texts, not sidecars")] = None,
    tags: Annotated[str, typer.Option(help="suffix of the sidecar with the tags")] = ".txt",
    caption: Annotated[str, typer.Option(help="suffix of the sidecar with the caption")] = ".caption",
    bad: Annotated[Bad, typer.Option(help="an image that cannot be read stops, or is left out")] = Bad.stop,
    jobs: Annotated[int, typer.Option(help="processes")] = 1,
) -> None:
    """Encode a folder of images; goes on where an interrupted call stopped."""
    done, left = encode(Wish(folder, out, model, texts, Sidecars(tags, caption), bad.value, jobs))
    more = f", {left:,} left out (listed in {out / LEFT_OUT})" if left else ""
    print(f"{out / METADATA}: {done:,} images{more}; latents in {out / 'latents'}")


if __name__ == "__main__":
    try:
        app()
    except UserError as error:
        sys.exit(exit_with(error))
