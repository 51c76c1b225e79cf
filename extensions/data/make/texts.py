"""Finds the texts of images in a metadata file (TEXTS=), by their ids.

All entries count, also those that an index leaves out: without size, listed in EXCLUDE, without latents. An id is
looked for as it stands; then among keys without their image's extension and in the composed form of Unicode (a Mac
writes file names in the other one); then without the folders that upstream's metadata have in their keys.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from extensions.base.errors import UserError
from extensions.data.index import parts
from extensions.data.index.layout import SUFFIX, Source, beside
from extensions.data.index.reader import Index
from extensions.data.make.images import NAME, PATH, SUFFIXES

EXTENSION = f"(?i)({'|'.join(suffix.replace('.', '[.]') for suffix in SUFFIXES)})$"
NONE = -1  # in place of a row: an image has no entry


@dataclass(frozen=True)
class Texts:
    """The texts of a metadata file. batches: of Arrow, with key, tags, caption; rows: int64 (n,), of each image."""

    batches: list[pa.RecordBatch]
    rows: np.ndarray

    def of(self, positions: np.ndarray) -> list[tuple[str, str]]:
        """Return (tags, caption) of some images, "" for one that is not there."""
        starts = np.cumsum([0, *map(len, self.batches)])
        found = []
        for row in self.rows[positions].tolist():
            if row == NONE:
                found.append(("", ""))
                continue
            number = int(np.searchsorted(starts, row, "right")) - 1
            found.append(texts_at(self.batches[number], row - int(starts[number])))
        return found

    def without(self) -> np.ndarray:
        """Tell which images have neither tags nor caption, bool (n,)."""
        empty = [np.ones(1, bool)]  # of NONE, which takes the last place
        for batch in reversed(self.batches):
            lengths = [pc.binary_length(batch.column(name)).to_numpy() for name in ("tags", "caption")]
            empty.insert(0, (lengths[0] == 0) & (lengths[1] == 0))
        return np.concatenate(empty)[self.rows]


def texts_at(batch: pa.RecordBatch, row: int) -> tuple[str, str]:
    """Return (tags, caption) of a row."""
    return batch.column("tags")[row].as_py(), batch.column("caption")[row].as_py()


def read(metadata: Path, work: Path, kind: str = NAME) -> list[pa.RecordBatch]:
    """Return all entries of a metadata file, or of those an index was made of. work: where they are kept, on a disk.

    kind: of the images' ids; upstream's jsonl says paths, whose folders belong to an id with PATH alone. An index
    whose metadata are not at hand gives what it has. UserError for what is no metadata.
    """
    sources = [metadata]
    if metadata.name.endswith(SUFFIX):
        index = Index(metadata)
        places = [place_of(metadata, source) for source in index.facts.sources]
        if None in places:
            return batches_of(index)
        sources = [place for place in places if place]
    for path in sources:
        if not path.is_file():
            raise UserError(
                f"no such metadata file: {path}; give TEXTS= a JSON or jsonl with the texts, or its index"
            )
    return list(parts.read(sources, place(work, kind), folders=kind == PATH))


def forget(work: Path) -> None:
    """Remove what `read` has kept."""
    for kind in (NAME, PATH):
        shutil.rmtree(beside(place(work, kind), "part"), ignore_errors=True)


def place(work: Path, kind: str) -> Path:
    """Return where the texts are kept whose keys have folders, or have none."""
    return work / f"texts_by_{kind}{SUFFIX}"


def place_of(index: Path, source: Source) -> Path | None:
    """Return where a file of an index lies as it was; None where it does not."""
    places = (Path(source.path), index.with_name(Path(source.path).name))
    return next((place for place in places if place.is_file() and source.same(Source.of(place))), None)


def batches_of(index: Index) -> list[pa.RecordBatch]:
    """Return the entries of an index, the way where its metadata are not at hand."""
    made, step = [], index.facts.rows_per_batch
    for start in range(0, len(index), step):
        samples = [index[row] for row in range(start, min(start + step, len(index)))]
        columns = {name: [getattr(sample, name) for sample in samples] for name in ("key", "tags", "caption")}
        kinds = {"key": pa.string(), "tags": pa.large_string(), "caption": pa.large_string()}
        made.append(pa.record_batch({name: pa.array(columns[name], kind) for name, kind in kinds.items()}))
    return made


def matched(metadata: Path, batches: list[pa.RecordBatch], ids: pa.Array, kind: str, folder: Path) -> Texts:
    """Return the texts of images. kind: of their ids, NAME or PATH; folder: of the images.

    UserError where no image has an entry, and for ids with several different ones.
    """
    keys = pa.chunked_array([batch.column("key") for batch in batches], pa.string())
    texts = Texts(batches, np.full(len(ids), NONE, np.int64))
    for of_key, of_id in forms(kind, folder):
        open_ = np.flatnonzero(texts.rows == NONE)
        if not len(open_):
            break
        wanted, there = of_id(ids.take(pa.array(open_))), of_key(keys)
        require_one_text(metadata, texts, there, wanted)
        rows = pc.index_in(wanted, value_set=there)
        texts.rows[open_] = pc.fill_null(rows, NONE).to_numpy(zero_copy_only=False)
    if (texts.rows == NONE).all():
        example = f"{keys[0].as_py()!r}" if len(keys) else "none"
        raise UserError(
            f"{metadata} has no entry of any of the {len(ids):,} images below {folder}: its keys are as {example}, "
            f"the images' ids as {ids[0].as_py()!r}; give the metadata of these images"
        )
    return texts


Form = Callable[[pa.Array], pa.Array]


def forms(kind: str, folder: Path) -> list[tuple[Form, Form]]:
    """Return what is compared, one after the other: (of the metadata's keys, of the images' ids)."""
    roots = {f"{path}".rstrip("/") + "/" for path in (folder, folder.absolute(), folder.resolve())}

    def named(keys: pa.Array) -> pa.Array:
        return composed(pc.replace_substring_regex(keys, EXTENSION, ""))

    def below(keys: pa.Array) -> pa.Array:
        keys = pc.replace_substring(keys, "\\", "/")
        for root in sorted(roots, key=len, reverse=True):
            inside = pc.starts_with(keys, root)
            keys = pc.if_else(inside, pc.utf8_slice_codeunits(keys, len(root)), keys)
        return named(keys)

    def alone(keys: pa.Array) -> pa.Array:
        return named(pc.replace_substring_regex(keys, r"(?s)^.*[/\\]", ""))

    same = (lambda keys: keys, lambda ids: ids)
    return [same, (named, composed), (alone if kind == NAME else below, composed)]


def composed(texts: pa.Array) -> pa.Array:
    """Return texts in Unicode's composed form, in which equal names are equal."""
    return pc.utf8_normalize(texts, "NFC")


def require_one_text(metadata: Path, texts: Texts, there: pa.ChunkedArray, wanted: pa.Array) -> None:
    """Raise UserError where an image would have several entries that do not say the same."""
    hit = pc.is_in(there, value_set=wanted).to_numpy()
    rows = np.flatnonzero(hit)
    keys = there.filter(pa.array(hit))
    counts = pc.value_counts(keys)
    counts = counts.combine_chunks() if isinstance(counts, pa.ChunkedArray) else counts
    twice = counts.field("values").filter(pc.greater(counts.field("counts"), 1))
    if not len(twice):
        return
    again = pc.is_in(keys, value_set=twice).to_numpy()
    found: dict[str, tuple[str, str]] = {}
    entries = Texts(texts.batches, rows[again]).of(np.arange(int(again.sum())))
    for key, said in zip(keys.filter(pa.array(again)).to_pylist(), entries, strict=True):
        if found.setdefault(key, said) != said:
            raise UserError(
                f"{metadata} has several entries for the image {key!r}, which do not say the same "
                f"({len(twice):,} images have several); keep one of each"
            )
