"""Judges which rows stay, the second pass. It sees numbers alone, some 60 bytes a row in memory for a moment.

Keys are compared by their 64-bit hash first; where two are equal, the keys themselves are read and compared.
"""

from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from extensions.base.progress import progress
from extensions.data.index.parts import EXAMPLES, Parts
from extensions.data.index.policies import CHOICES, EXCLUDED, UNKNOWN, Policies

PAIRS = 1 << 20  # rows whose keys are compared at once


@dataclass
class Verdict:
    """keep: bool, one a row. counts: entries of each kind, whatever its policy. left_out: those that do not stay.
    examples: of each kind, for the report. found: which rows are of a kind, bool, one a row. lists: the
    files that have all ids of a kind, once they are written."""

    keep: np.ndarray
    counts: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    found: dict[str, np.ndarray] = field(default_factory=dict)
    lists: dict[str, str] = field(default_factory=dict)

    def refused(self, policies: Policies) -> list[str]:
        """Return the kinds that were found and that the policies refuse."""
        return [kind for kind, count in self.counts.items() if count and kind in CHOICES and policies.refuses(kind)]


def judge(
    parts: Parts, policies: Policies, present: np.ndarray | None, excluded: np.ndarray | None = None
) -> Verdict:
    """Look at every row. present: sorted hashes of the ids that have latents; None: not to be looked at.

    excluded: sorted hashes of ids to be left out, each once; whatever else is wrong with them does not count.
    Duplicates are looked for among the entries that no other policy leaves out: the first that can be used stays.
    """
    hashes = parts.column("key_hash")
    verdict = Verdict(np.ones(len(hashes), bool))
    if excluded is not None:
        listed = contains(excluded, hashes)
        note(verdict, parts, EXCLUDED, listed, True)
        verdict.counts[UNKNOWN] = len(excluded) - len(np.unique(hashes[listed]))
    wanted = verdict.keep.copy()
    looks = {
        "bad_size": lambda: (parts.column("width") == 0) & wanted,
        "empty_text": lambda: without_text(parts) & wanted,
    }
    if present is not None:
        looks["missing"] = lambda: ~contains(present, hashes) & wanted
    looks["duplicates"] = lambda: duplicates(parts, hashes, np.flatnonzero(verdict.keep))
    with progress("judging", len(looks) * len(hashes), "checks") as advance:
        for number, (kind, look) in enumerate(looks.items(), start=1):
            note(verdict, parts, kind, look(), policies.leaves_out(kind))
            advance(number * len(hashes), number * len(hashes))
    verdict.examples["bad_size"] = parts.done.bad_sizes
    return verdict


def note(verdict: Verdict, parts: Parts, kind: str, found: np.ndarray, leave_out: bool) -> None:
    """Count what was found, name some, and leave it out where that is wanted."""
    rows = np.flatnonzero(found)
    verdict.counts[kind], verdict.found[kind] = len(rows), found
    verdict.examples[kind] = keys_at(parts, rows[:EXAMPLES]).to_pylist()
    if leave_out:
        verdict.left_out[kind] = int(np.count_nonzero(found & verdict.keep))
        verdict.keep &= ~found


def without_text(parts: Parts) -> np.ndarray:
    """Tell whether tags and caption are both empty, bool, one a row."""
    found = []
    for part in parts:
        texts = [pc.binary_length(part.column(name)).to_numpy() for name in ("tags", "caption")]
        found.append((texts[0] == 0) & (texts[1] == 0))
    return np.concatenate(found)


def contains(ordered: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Tell whether each of `wanted` is in the sorted array `ordered`; both uint64."""
    if not len(ordered):
        return np.zeros(len(wanted), bool)
    places = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return ordered[places] == wanted


def hashes_of(keys: pa.Array) -> np.ndarray:
    """xxh3-64 of each text, uint64, in their order."""
    return np.array([xxhash.xxh3_64_intdigest(key) for key in keys.cast(pa.binary()).to_pylist()], np.uint64)


def duplicates(parts: Parts, hashes: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return which of the given rows repeat the key of an earlier one of them; bool, one a row of `hashes`."""
    found = np.zeros(len(hashes), bool)
    order = rows[np.argsort(hashes[rows], kind="stable")]
    ordered = hashes[order]
    again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    if not len(again):
        return found
    firsts = order[np.searchsorted(ordered, ordered[again])]
    equal = same_keys(parts, order[again], firsts)
    found[order[again[equal]]] = True
    # Two different keys with one hash: with 12.4 million of them once in a hundred thousand sets.
    others = order[again[~equal]]
    seen: dict[str, int] = {}
    for row, key in zip(others.tolist(), keys_at(parts, others).to_pylist(), strict=True):
        found[row] = seen.setdefault(key, row) != row
    return found


def same_keys(parts: Parts, rows: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Tell whether the keys of two lists of rows are equal, pair by pair."""
    pieces = []
    for start in range(0, len(rows), PAIRS):
        pair = [keys_at(parts, each[start : start + PAIRS]) for each in (rows, others)]
        pieces.append(pc.equal(*pair).to_numpy(zero_copy_only=False))
    return np.concatenate(pieces)


def keys_at(parts: Parts, rows: np.ndarray) -> pa.Array:
    """Return the keys of some rows, in the order of the rows; each part is opened once."""
    order = np.argsort(rows, kind="stable")
    wanted = rows[order]
    pieces, start = [], 0
    ends = np.cumsum([len(part) for part in parts])
    for part, end in zip(parts, ends, strict=True):
        stop = int(np.searchsorted(wanted, end))
        if stop > start:
            pieces.append(part.column("key").take(pa.array(wanted[start:stop] - (end - len(part)))))
        start = stop
    back = np.empty(len(rows), np.int64)
    back[order] = np.arange(len(rows))
    return pa.concat_arrays(pieces).take(pa.array(back)) if pieces else pa.array([], pa.string())
