"""Encodes a folder of images as latents and metadata: python -m extensions.data.make.encode (make latents).

    OUT/latents/<id>.npz     one an image
    OUT/meta_lat.json        of all images, once all are encoded; its order depends on the ids alone
    OUT/left_out.txt, .jsonl what is not in it, and why; OUT/no_text.txt: images without tags and caption
    OUT/prepared/            a ledger a part of the images: a call that was killed goes on image by image

Buckets are those of the recorded sets (`buckets.historical`). Texts come from sidecars of the image (`a.txt` tags,
`a.caption` caption), or from a metadata file; all are read and checked before the first image is encoded.
"""

import enum
import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from extensions.base.errors import UserError
from extensions.base.paths import require_apart
from extensions.base.reporting import exit_code_of_app
from extensions.base.saving import replacing, write_text, writing
from extensions.data import ids, parallel
from extensions.data.buckets import SD2_AREA, SDXL_AREA, Rule, historical
from extensions.data.make import checking, images, left_out, pixels, sidecars, texts
from extensions.data.make.images import Found
from extensions.data.make.left_out import PassedOver, counted
from extensions.data.make.pixels import BadImage, Reading, Unfit
from extensions.data.make.prepare import Ledger, Recipe, Source, encoded, entry_of
from extensions.data.make.sidecars import Sidecars
from extensions.data.make.wish import (
    GOES_ON,
    LEDGER,
    LEFT,
    METADATA,
    NO_TEXT,
    PIECE,
    SKIP,
    STOP,
    TEXTS,
    WORK,
    Part,
    Wish,
)
from extensions.model import autoencoder as vae
from extensions.model import checkpoint

AREAS = {"sdxl": SDXL_AREA, "sd2": SD2_AREA}
CLASHES, WITHOUT = "clashes.txt", "no_text.txt"
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Bad(str, enum.Enum):
    """What becomes of an image that cannot be read."""

    stop = STOP
    skip = SKIP


class Ids(str, enum.Enum):
    """What an image's id is: its file's name, or its path below the folder of images."""

    name = images.NAME
    path = images.PATH


@dataclass(frozen=True)
class Task:
    """One part of the images, to be encoded."""

    part: Part
    rule: Rule
    encoder: str

    def sources(self) -> Iterator[tuple[str, Source, checking.Known]]:
        """Yield (path below the folder, the image with its texts, what is known to be wrong)."""
        part = self.part
        for key, path, said in zip(part.ids, part.paths, checking.kept(part), strict=True):
            yield path, Source(key, part.wish.images / path, said.tags, said.caption), said


def encode(wish: Wish) -> tuple[int, int]:
    """Encode what is new or changed and write the metadata; (images in it, images left out).

    UserError: no images, an id twice, no autoencoder, other metadata in the way, disk full, with STOP a bad image.
    """
    wish.reading.require_sane()
    require_apart(wish.out, wish.images, "folder of images")
    if (wish.out / METADATA).exists() and not (wish.out / WORK).is_dir():
        raise UserError(f"{wish.out / METADATA} was not written by `make latents`; give another OUT, or move it away")
    family = checkpoint.read_header(wish.model).family
    if family not in AREAS:
        raise UserError(f"{wish.model} is {checkpoint.FAMILIES[family]}; give an SDXL or SD2 checkpoint")
    rule, encoder, passed = historical(AREAS[family]), vae.digest(wish.model), PassedOver()
    found = images.find(wish.images, wish.ids, passed)
    with writing(wish.out, GOES_ON):
        images.require_distinct(found, wish.ids, wish.out / CLASHES)
        for folder in (wish.out / "latents", wish.out / WORK):
            folder.mkdir(parents=True, exist_ok=True)
        (wish.out / CLASHES).unlink(missing_ok=True)
    checking.check(wish, found)
    tasks = (Task(part, rule, encoder) for part, _ in checking.parts(wish, found))
    for _ in parallel.run(work, tasks, wish.jobs, len(found.ids), "encoding"):
        pass
    with writing(wish.out, GOES_ON):
        kinds = join(wish, found, passed)
        texts.forget(wish.out / WORK)
    return len(found.ids) - kinds.total(), kinds.total()


def work(task: Task) -> None:
    """Encode a part: npz files, then its piece of the metadata, what was left out, what has no text."""
    part, wish = task.part, task.part.wish
    recipe = Recipe(partial(encode_one, str(wish.model), wish.jobs), task.rule, task.encoder, wish.reading)
    entries, left, silent = {}, [], []
    with writing(wish.out, GOES_ON):
        with Ledger(part.file(LEDGER)) as ledger:
            for path, source, said in task.sources():
                try:
                    if said.kind:
                        raise BadImage(said.reason, said.kind)
                    entries[source.id] = entry_of(source, encoded(source, wish.out / "latents", recipe, ledger))
                    silent += [] if said.tags or said.caption else [ids.line(source.id)]
                except BadImage as error:
                    if wish.bad == STOP and not isinstance(error, Unfit):
                        raise UserError(f"{error}; BAD=skip leaves such images out") from None
                    left.append(left_out.row(path, source.id, error.kind, str(error)))
                parallel.tick()
        write_text(part.file(LEFT), "".join(left))
        write_text(part.file(NO_TEXT), "".join(silent))
        write_text(part.file(PIECE), json.dumps(entries, ensure_ascii=False, indent=1))
        part.file(TEXTS).unlink()  # each call reads the texts anew


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


def join(wish: Wish, found: Found, passed: PassedOver) -> Counter[str]:
    """Write the parts' pieces as one metadata file and the lists; how many images of each kind were left out."""
    parts = np.unique(found.part).tolist()
    with replacing(wish.out / METADATA) as temporary, open(temporary, "wb") as file:
        between = b"{"
        for part in parts:
            inner = wish.file(part, PIECE).read_bytes().strip()[1:-1].rstrip()
            if inner:
                file.write(between + inner)
                between = b","
        file.write(b"\n}\n" if between == b"," else b"{}\n")
    with replacing(wish.out / WITHOUT) as temporary, open(temporary, "wb") as file:
        for part in parts:
            with open(wish.file(part, NO_TEXT), "rb") as lines:
                shutil.copyfileobj(lines, file)
    kinds = left_out.write(wish.out, (wish.file(part, LEFT) for part in parts), passed)
    tell(wish, kinds, passed)
    return kinds


def tell(wish: Wish, kinds: Counter[str], passed: PassedOver) -> None:
    """Say what was left out and passed over, and where each is listed with its reason."""
    said = [f"{kinds.total():,} images left out: {counted(kinds)}"] if kinds else []
    if over := passed.told(checking.suffixes(wish)):
        said.append(f"passed over: {over}")
    if said:
        print(f"{'; '.join(said)} (listed in {wish.out / left_out.REASONS})", flush=True)


@app.command()
def main(
    folder: Annotated[Path, typer.Argument(metavar="IMAGES", help="folder of images, searched below, too")],
    out: Annotated[Path, typer.Argument(help="folder for latents/ and meta_lat.json")],
    model: Annotated[Path, typer.Argument(help="checkpoint whose autoencoder encodes")],
    given: Annotated[Path | None, typer.Option("--texts", help="metadata or an index, not sidecars")] = None,
    tags: Annotated[str, typer.Option(help=f"suffix of the sidecar with the tags ({sidecars.TAGS})")] = "",
    caption: Annotated[str, typer.Option(help=f"suffix of the sidecar with the caption ({sidecars.CAPTION})")] = "",
    text_encoding: Annotated[str, typer.Option("--text_encoding", help="of the sidecars")] = sidecars.ENCODING,
    bad: Annotated[Bad, typer.Option(help="an image or text that cannot be read stops, or is left out")] = Bad.stop,
    jobs: Annotated[int, typer.Option(help="processes")] = 1,
    ids_of: Annotated[Ids, typer.Option("--ids", help="ids are file names, or paths below IMAGES")] = Ids.name,
    background: Annotated[str, typer.Option(help="colour under transparent pixels")] = pixels.BACKGROUND,
    min_side: Annotated[int, typer.Option("--min_side", help="px; smaller images are left out")] = pixels.MIN_SIDE,
    max_enlarge: Annotated[
        float, typer.Option("--max_enlarge", help="times; images that need more are left out")
    ] = pixels.MAX_ENLARGE,
) -> None:
    """Encode a folder of images; goes on where an interrupted call stopped."""
    beside = Sidecars.asked(tags, caption, text_encoding)
    reading = Reading(background, min_side, max_enlarge)
    done, left = encode(Wish(folder, out, model, given, beside, bad.value, jobs, reading, ids_of.value))
    more = f", {left:,} left out (listed in {out / left_out.LIST})" if left else ""
    print(f"{out / METADATA}: {done:,} images{more}; latents in {out / 'latents'}")


if __name__ == "__main__":
    sys.exit(exit_code_of_app(app, sys.argv[1:]))
