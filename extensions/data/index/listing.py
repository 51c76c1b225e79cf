"""Lists all ids of what a build found, one a line: `meta_lat.json.index.missing.txt` and others, by the report.

For who mends the data, and to be given to EXCLUDE=. The report has examples; there may be millions of ids.
"""

from collections.abc import Iterable, Iterator
from itertools import chain, count
from pathlib import Path

import numpy as np
import pyarrow as pa

from extensions.base.saving import replacing
from extensions.data import ids
from extensions.data.index.layout import beside
from extensions.data.index.parts import Parts
from extensions.data.index.policies import CHOICES


def write(index: Path, parts: Parts, found: dict[str, np.ndarray], in_use: Iterable[Path]) -> dict[str, str]:
    """Write {kind: its list} of every policy's kind that was found; an earlier build's list of more is removed.

    found: which rows are of a kind, bool, one a row. in_use: lists that an index is made without, which go on saying
    what they said. Memory is one part's.
    """
    lists, taken = {}, {path.resolve() for path in in_use}
    for kind in CHOICES:
        path = place(index, kind, taken)
        if kind in found and found[kind].any():
            with replacing(path, durable=False) as temporary, open(temporary, "wb") as file:
                file.writelines(lines(parts, found[kind]))
            lists[kind] = str(path)
        else:
            path.unlink(missing_ok=True)
    return lists


def place(index: Path, kind: str, taken: set[Path]) -> Path:
    """Return where the list of a kind goes: `….missing.txt`, or `….missing.2.txt` where that one is in use."""
    names = chain([f"{kind}.txt"], (f"{kind}.{number}.txt" for number in count(2)))
    return next(path for name in names if (path := beside(index, name, hidden=False)).resolve() not in taken)


def lines(parts: Parts, chosen: np.ndarray) -> Iterator[bytes]:
    """Yield the keys of the chosen rows, each with its end of line, a part at a time."""
    start = 0
    for part in parts:
        mask = chosen[start : start + len(part)]
        start += len(part)
        if mask.any():
            keys = part.column("key").filter(pa.array(mask))
            yield "".join(ids.line(key) for key in keys.to_pylist()).encode()
