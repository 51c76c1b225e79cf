"""Streams the entries of metadata files, each with the byte where it ends, so that reading can go on there.

The end of an entry is found, and orjson reads what lies before it: 14 GB of JSON pass in a window of some
megabytes, and an id that occurs twice is seen twice, which a dictionary would hide.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import orjson

from extensions.base.errors import UserError
from extensions.data.metadata import key_of, path_of

BLOCK = 4 << 20
LARGEST_ENTRY = 64 << 20  # bytes; without a bound one missing quote would read the rest of the file into memory
BOM = b"\xef\xbb\xbf"

STRING = rb'"[^"\\]*(?:\\.[^"\\]*)*"'
SPACE = rb"[ \t\r\n]*"
OPENING = re.compile(SPACE + rb"\{")
KEY = re.compile(SPACE + rb"(,?)" + SPACE + rb"(" + STRING + rb")" + SPACE + rb":" + SPACE, re.DOTALL)
TOKEN = re.compile(STRING + rb'|[{}\[\]"]', re.DOTALL)  # a lone quote: of a text that is not whole yet
CLOSING = re.compile(SPACE + rb"\}" + SPACE + rb"\Z")

Entry = tuple[str, object, int]  # key, value, the byte of the file after it


def entries(path: Path, offset: int = 0, folders: bool = False) -> Iterator[Entry]:
    """Yield all entries of a metadata file from a byte on: 0, or where an entry ended.

    folders: a jsonl's keys keep the folders of its paths. UserError for malformed entries.
    """
    with open(path, "rb") as file:
        if path.suffix == ".jsonl":
            yield from of_lines(path, file, offset, folders)
        else:
            yield from of_object(path, file, offset)


def of_lines(path: Path, file, offset: int, folders: bool = False) -> Iterator[Entry]:
    """upstream's jsonl: one object with an `image_path` a line. Empty lines are passed over."""
    file.seek(offset)
    while line := file.readline(LARGEST_ENTRY):
        start, offset = offset, offset + len(line)
        line = (line.removeprefix(BOM) if start == 0 else line).strip()
        if not line:
            continue
        value = parsed(path, line, start)
        name = value.get("image_path") if isinstance(value, dict) else None
        if not isinstance(name, str) or not key_of(name):
            raise UserError(f"{path}: the line at byte {start} is not an object with an image_path")
        yield (path_of(name) if folders else key_of(name)), value, offset


def of_object(path: Path, file, offset: int) -> Iterator[Entry]:
    """Yield the historical JSON: one object of id: entry."""
    window = Window(path, file, offset)
    first = offset == 0
    if first:
        window.open()
    while True:
        match = KEY.match(window.data, window.at)
        found = value_at(path, window, match) if match else None
        if match and found:
            if bool(match[1]) == first:
                raise window.malformed("a comma is missing or one too many")
            value, end = found
            yield parsed(path, match[2], window.base + match.start(2)), value, window.base + end
            window.at, first = end, False
        elif not window.grow():
            break
    if not CLOSING.match(window.data, window.at):
        raise window.malformed("no entry begins there" if match is None else "the file ends inside an entry")


def value_at(path: Path, window: "Window", match: re.Match) -> tuple[object, int] | None:
    """Return (the object after a key, where it ends in the window); None when it is not whole yet."""
    data, start = window.data, match.end()
    if start == len(data):
        return None
    if data[start] != ord("{"):
        key = parsed(path, match[2], window.base + match.start(2))
        raise UserError(f"{path}: the entry of {key!r} is not an object with tags, caption and train_resolution")
    # Nearly always the next brace is the object's own. What orjson accepts up to it is the whole object.
    end = data.find(b"}", start) + 1
    try:
        return orjson.loads(data[start:end]), end
    except orjson.JSONDecodeError:
        end = end_by_tokens(data, start)
    return (parsed(path, data[start:end], window.base + start), end) if end else None


def end_by_tokens(data: bytes, start: int) -> int:
    """Return where the object ends that has braces in its texts or objects in it; 0 when it is not whole yet."""
    depth = 0
    for token in TOKEN.finditer(data, start):
        if token[0] == b'"':
            break
        depth += (token[0] in (b"{", b"[")) - (token[0] in (b"}", b"]"))
        if depth == 0:
            return token.end()
    return 0


def parsed(path: Path, text: bytes, where: int):
    """Return the value of one piece of JSON. UserError with the byte of the file."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise UserError(f"{path} is not JSON: {error} of what begins at byte {where}") from None


class Window:
    """The part of a file that is in memory. at: the next byte of `data` to read; base: where `data` begins."""

    def __init__(self, path: Path, file, offset: int):
        self.path, self.file = path, file
        self.base, self.at, self.data = offset, 0, b""
        file.seek(offset)

    def open(self) -> None:
        """Pass the opening brace. UserError where the file is no object."""
        while self.grow() and not self.data.removeprefix(BOM).strip():
            pass
        self.at = len(BOM) if self.data.startswith(BOM) else 0
        match = OPENING.match(self.data, self.at)
        if match is None:
            raise UserError(f"{self.path} is not a JSON object of id: {{tags, caption, train_resolution}}")
        self.at = match.end()

    def grow(self) -> bool:
        """Read on, keeping what is not read yet; False at the end of the file."""
        kept = self.data[self.at :]
        if len(kept) > LARGEST_ENTRY:
            raise self.malformed("no entry ends there for 64 MB")
        block = self.file.read(max(BLOCK, len(kept)))  # doubling: a long entry is looked through a few times only
        self.base, self.at, self.data = self.base + self.at, 0, kept + block
        return bool(block)

    def malformed(self, why: str) -> UserError:
        """Return what to raise about the next byte."""
        text = self.data[self.at : self.at + 40].decode(errors="replace")
        return UserError(f"{self.path} is not JSON: {why} (byte {self.base + self.at}: {text!r})")
