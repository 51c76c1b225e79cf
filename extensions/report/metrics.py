"""Reads metrics.jsonl to curves: in blocks, on from where it stopped, whatever numbers a line holds.

A line is of the training, or, beside it, of what a plugin has measured: {"optimizer_step": n, "<what>": {…}}. Every
number in it is a value of a curve, named by its way: "loss", "lr/U-Net", "validation/held_out/x0". A list of numbers
is as many curves; where a list of names as long stands beside it ("strata"), they are named by these.
A last line without its end is left until it is whole. A line that cannot be read is counted, and no more.
"""

import json
import os
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from extensions.report.curves import Curve

BLOCK = 4 << 20  # bytes read at once
LONGEST = 64 << 20  # bytes of a line
STEP = "optimizer_step"
TRAINING = ""  # the kind of a line that the training writes
LEAVES, LISTED, DEPTH = 500, 64, 6  # curves a file, numbers a list, folders a name: beyond any record
MOST = 10**9  # optimizer steps
HEAD = 1000  # lines until the training's first, at most


@dataclass
class Metrics:
    """What is read of one metrics.jsonl so far.

    cuts: {kind of line: the first optimizer step that a later launch has done again}; from there on values are left
    out. offset: bytes that are read, whole lines. lines, unread: lines that count, and those that cannot be read.
    labels: {name of a listed curve: what it stands for}. failed: why the rest cannot be read.
    """

    cuts: dict[str, int] = field(default_factory=dict)
    offset: int = 0
    lines: int = 0
    unread: int = 0
    curves: dict[str, Curve] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    failed: str = ""

    def read_on(self, path: Path) -> int:
        """Read what has been added; bytes read."""
        done = 0
        with open(path, "rb") as file:
            file.seek(self.offset)
            rest = b""
            while block := file.read(BLOCK):
                whole, newline, rest = (rest + block).rpartition(b"\n")
                if newline:
                    self._take(whole.split(b"\n"))
                    self.offset += len(whole) + 1
                    done += len(whole) + 1
                if len(rest) > LONGEST:
                    self.failed = f"a line is longer than {LONGEST >> 20} MB"
                    break
        return done

    def cut(self, kind: str) -> int:
        """Return the first optimizer step of a kind that does not count: the training's, where no other is known."""
        return self.cuts.get(kind, self.cuts.get(TRAINING, MOST + 1))

    def _take(self, texts: list[bytes]) -> None:
        values: dict[str, list[tuple]] = defaultdict(list)
        kinds: dict[tuple, list[dict]] = defaultdict(list)
        for text in texts:
            line = parsed(text)
            if line is None:
                self.unread += bool(text.strip())
            else:
                self.lines += 1
                kinds[tuple(line)].append(line)
        for lines in kinds.values():
            kind = kind_of(lines[0])
            self._sort([line for line in lines if line[STEP] < self.cut(kind)], values)
        for name, parts in values.items():
            if name in self.curves or len(self.curves) < LEAVES:
                steps, found = (np.concatenate(each) for each in zip(*parts, strict=True))
                self.curves.setdefault(name, Curve()).add(steps, found)

    def _sort(self, lines: list[dict], values: dict[str, list[tuple]]) -> None:
        """Put the numbers of lines with the same names where they belong."""
        steps = np.array([line[STEP] for line in lines], np.int64)
        for name in lines[0] if lines else ():
            if name == STEP:
                continue
            column = [line[name] for line in lines]
            if not self._alike(name, steps, column, values):
                for step, value in zip(steps, column, strict=True):
                    for leaf, number in leaves(value, name, self.labels):
                        values[leaf].append(([step], [number]))

    def _alike(self, name: str, steps: np.ndarray, column: list, values: dict) -> bool:
        """Put down a column of plain numbers, or of records with the same ones, as a whole; whether it is such."""
        if type(column[0]) is dict and all(type(each) is dict and each.keys() == column[0].keys() for each in column):
            inner = {f"{name}/{key}": [each[key] for each in column] for key in column[0]}
        else:
            inner = {name: column}
        if not all(set(map(type, each)) <= {int, float} for each in inner.values()):
            return False
        for leaf, found in inner.items():
            values[leaf].append((steps, np.array([as_float(each) for each in found])))
        return True


def parsed(text: bytes) -> dict | None:
    """Return a line; None for one that is damaged. NaN and infinity, which JSON has not, are numbers here."""
    try:
        found = orjson.loads(text)
    except ValueError:
        try:
            found = json.loads(text)
        except (ValueError, RecursionError):
            return None
    if not isinstance(found, dict) or type(found.get(STEP)) is not int or not 0 <= found[STEP] <= MOST:
        return None
    return found


def kind_of(line: dict) -> str:
    """Return what a line is about: TRAINING, or the first name of what a plugin has measured."""
    if "loss" in line or "micro_step" in line:
        return TRAINING
    return next((name for name in line if name != STEP), TRAINING)


def leaves(value: Any, name: str, labels: dict[str, str], depth: int = 0) -> Iterator[tuple[str, float]]:
    """Yield (name, number) of all numbers in a value. labels: takes what stands for the places of a list."""
    if isinstance(value, dict) and depth < DEPTH:
        for key, below in value.items():
            if isinstance(below, list):
                yield from listed(below, f"{name}/{key}", value, labels)
            else:
                yield from leaves(below, f"{name}/{key}", labels, depth + 1)
    elif isinstance(value, list) and depth == 0:
        yield from listed(value, name, {}, labels)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield name, as_float(value)


def listed(values: list, name: str, beside: dict, labels: dict[str, str]) -> Iterator[tuple[str, float]]:
    """Yield the numbers of a list: name/0, name/1, …; `labels` takes what names beside it call them."""
    if not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in values):
        return
    if f"{name}/0" not in labels:
        names = next((each for each in beside.values() if is_names(each, len(values))), None)
        labels.update({f"{name}/{i}": str(label) for i, label in enumerate((names or range(len(values)))[:LISTED])})
    for index, each in enumerate(values[:LISTED]):
        yield f"{name}/{index}", as_float(each)


def is_names(value: Any, length: int) -> bool:
    """Tell whether a value names so many things: texts, or pairs of bounds."""
    return isinstance(value, list) and len(value) == length and all(isinstance(each, (str, list)) for each in value)


def as_float(value: float) -> float:
    """Return the number; infinity for a whole one that no float holds."""
    try:
        return float(value)
    except OverflowError:
        return float("inf")


def first_steps(path: Path) -> dict[str, int]:
    """Return {kind of line: its first optimizer step}, from the lines up to the training's first."""
    found: dict[str, int] = {}
    try:
        with open(path, "rb") as file:
            for _, text in zip(range(HEAD), file, strict=False):
                line = parsed(text) if text.endswith(b"\n") else None
                if line is not None:
                    found.setdefault(kind_of(line), line[STEP])
                if TRAINING in found:
                    break
    except OSError:
        return {}
    return found


def size_of(path: Path) -> int:
    """Bytes of a file; 0 where there is none."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
