"""Synthetic metadata of the real shape for `benchmarks.index`: 35 tags and a caption of 75 words an image."""

import json
import random
from pathlib import Path

from extensions.data.buckets import SDXL_AREA, bucket_resolutions

BYTES_A_ROW = 830  # of the JSON, about
TEXTS = 4_000  # different tag lists and captions; the pairs of them are 16 million
AT_ONCE = 10_000  # rows that are written together


def write(path: Path, rows: int) -> None:
    """Metadata of `rows` images, with the fields that both this project (train_resolution) and upstream read."""
    draw = random.Random(rows)
    tags, captions = texts(draw, ", ", 35, 6.5), texts(draw, " ", 75, 4.0)
    sizes = [json.dumps(list(size)) for size in bucket_resolutions(SDXL_AREA)]
    with open(path, "w", encoding="utf-8") as file:
        file.write("{")
        for start in range(0, rows, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, rows))
            lines = (line(number, draw.choice(tags), draw.choice(captions), draw.choice(sizes)) for number in numbers)
            file.write((",\n" if start else "\n") + ",\n".join(lines))
        file.write("\n}\n")


def line(number: int, tags: str, caption: str, size: str) -> str:
    """One entry. Ids are scattered as booru ids are, and never occur twice."""
    entry = f'"tags": {tags}, "caption": {caption}, "image_size": {size}, "train_resolution": {size}'
    return f'"{key(number)}": {{{entry}}}'


def key(number: int) -> str:
    """The id of an image."""
    return str(1_000_000 + 3 * number)


def texts(draw: random.Random, separator: str, words: int, letters: float) -> list[str]:
    """Quoted texts of so many words, of so many letters each on the average."""
    made = []
    vocabulary = [
        "".join(draw.choices("etaoinshrdlu", k=max(1, round(draw.gauss(letters, 2))))) for _ in range(5_000)
    ]
    for _ in range(TEXTS):
        made.append(json.dumps(separator.join(draw.choices(vocabulary, k=words))))
    return made
