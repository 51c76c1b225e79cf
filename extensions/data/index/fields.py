"""Other fields of the metadata as columns: a score, a rating, of which a plugin makes words of a text.

A field is a column of numbers where all its values are numbers, else of words. While the metadata are read, its
values are kept as JSON: which kind it is turns out with the last of them.
"""

import shlex
from collections.abc import Sequence
from math import isnan
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from extensions.base.errors import UserError
from extensions.data.index.layout import SUFFIX, Facts, Field, column_of, index_of

MOST = 4_096  # different words: more are no kinds of images
LONGEST = 200  # characters of a word, and of an id in a message


def json_of(path: Path, key: str, entry, names: Sequence[str]) -> tuple[str, ...]:
    """Return the values of an entry's fields as JSON, "" where it has none. UserError: neither number nor text."""
    found = []
    for name in names:
        value = entry.get(name)
        if not isinstance(value, (int, float, str, type(None))):
            raise UserError(f"{path}: {name} of {key[:LONGEST]!r} is neither a number nor a text")
        if isinstance(value, str):
            value = value.strip() or None
            if value and len(value) > LONGEST:
                raise UserError(
                    f"{path}: {name} of {key[:LONGEST]!r} has more than {LONGEST} letters, and is no kind"
                )
        found.append("" if value is None else orjson.dumps(value).decode())
    return tuple(found)


def columns(parts, keep: np.ndarray, size: int) -> list[tuple[Field, np.ndarray]]:
    """Return (its facts, the values of the rows that stay) of each field of the parts.

    size: rows of a record batch. UserError for a field that no row has.
    """
    ends = np.cumsum([0, *map(len, parts)])
    found = []
    for name in parts.done.fields:
        pieces = (part.column(column_of(name)) for part in parts)
        kept = [
            piece.filter(pa.array(keep[start:end]))
            for piece, start, end in zip(pieces, ends[:-1], ends[1:], strict=True)
        ]
        if not any(pc.any(pc.not_equal(each, "")).as_py() for each in kept):
            raise UserError(f"{parts.done.sources[0].path}: no image has the field {name}; name another")
        wordy = any(pc.any(pc.is_in(pc.utf8_slice_codeunits(each, 0, 1), LETTERS)).as_py() for each in kept)
        words, column = of_words(name, kept) if wordy else (None, of_numbers(kept))
        found.append((Field(name, words, digests(column, size)), column))
    return found


LETTERS = pa.array(['"', "t", "f"])  # with which the JSON of a text begins, and of a switch


def of_numbers(pieces: list[pa.Array]) -> np.ndarray:
    """Return the numbers, float64."""
    return np.concatenate(
        [np.array([float(text) if text else np.nan for text in each.to_pylist()], np.float64) for each in pieces]
    )


def of_words(name: str, pieces: list[pa.Array]) -> tuple[list[str], np.ndarray]:
    """Return (the words, the number of each row's, int16). UserError for too many different ones."""
    words = sorted({text for each in pieces for text in pc.unique(each).to_pylist()} - {""})
    if len(words) > MOST:
        raise UserError(
            f"the field {name} has {len(words):,} different texts; a field that is drawn from has at most "
            f"{MOST:,}, or numbers alone"
        )
    known = pa.array(words, pa.string())
    numbers = [pc.fill_null(pc.index_in(each, known), -1).to_numpy(zero_copy_only=False) for each in pieces]
    meant = [value if isinstance(value := orjson.loads(text), str) else text for text in words]
    return meant, np.concatenate(numbers).astype(np.int16)


def digests(column: np.ndarray, size: int) -> list[str]:
    """xxh3-64 of the column in each record batch of so many rows."""
    return [xxhash.xxh3_64_hexdigest(column[start : start + size].data) for start in range(0, len(column), size)]


def fingerprint(fields: Sequence[Field]) -> str:
    """xxh3-128 of the content of some columns; "" of none."""
    if not fields:
        return ""
    said = [[each.name, each.words, each.digests] for each in fields]
    return xxhash.xxh3_128_hexdigest(orjson.dumps(said))


class Values:
    """A field in a record batch, as the bytes that they are."""

    def __init__(self, field: Field, column: pa.Array, number: int):
        """ValueError where they are not what was written."""
        self.name, self.words = field.name, field.words
        content = memoryview(column.buffers()[1]).cast("B")[: len(column) * field.type.byte_width]
        if xxhash.xxh3_64_hexdigest(content) != field.digests[number]:
            raise ValueError
        self.values = content.cast("d" if field.words is None else "h")

    def at(self, place: int) -> float | str | None:
        """Return the value of a row; None where it has none."""
        value = self.values[place]
        if self.words is None:
            return None if isnan(value) else value
        return None if value < 0 else self.words[int(value)]


def lacks(path: Path, facts: Facts, names: Sequence[str]) -> str:
    """Return the line for an index without columns of some fields: how to make it again as it is, with them."""
    metadata = [each.path for each in facts.sources]
    words = ["make", "index", f"META={shlex.join(metadata)}", "DATA=…"]
    if len(metadata) > 1 or index_of(Path(metadata[0])) != path.resolve():
        words.append(f"OUT={path}" if path.name.endswith(SUFFIX) else "OUT=…")
    policies = [f"{kind}={way}" for kind, way in facts.policies.items() if way not in ("refuse", "keep")]
    if policies:
        words.append(f"POLICY={' '.join(policies)}")
    if facts.excluded:
        words.append(f"EXCLUDE={shlex.join(each.path for each in facts.excluded)}")
    words.append(f"FIELDS={','.join([*(each.name for each in facts.fields), *names])}")
    return f"{path} has no column of the field {', '.join(names)}; make it again: {' '.join(map(quoted, words))}"


def quoted(word: str) -> str:
    """Return a word of a command as it is typed; what is to be filled in stays."""
    return word if word.endswith("…") else shlex.quote(word)
