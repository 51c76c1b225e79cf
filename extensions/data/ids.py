"""Writes ids to lists and reads them back, and says which ids name a file below a folder of latents.

An id is any text that can name a file: it may hold line breaks and terminal escapes. A list has an id a line. One
that a line or a terminal would not carry as it is stands there as a JSON string; so does one that begins with the
quote of such a string.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from extensions.base.errors import UserError

QUOTE = '"'
MARK = b"\xef\xbb\xbf"  # of byte order, as some editors put it before the first line
MARKS_16 = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16, in which no id would be found


def line(key: str) -> str:
    """Return the line of an id, with its end."""
    plain = key.isprintable() and key != "" and not key.startswith(QUOTE)
    return f"{key if plain else json.dumps(key)}\n"


def keys_of(path: Path, lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the ids that a list's lines say, in UTF-8. What is no JSON string is an id as it stands.

    UserError for a list in UTF-16.
    """
    for number, text in enumerate(lines):
        if number == 0:
            if text.startswith(MARKS_16):
                raise UserError(f"{path} is UTF-16; save it as UTF-8, an id a line")
            text = text.removeprefix(MARK)  # noqa: PLW2901 - the mark is no part of the first id
        if key := unquoted(text.rstrip(b"\r\n")):
            yield key


def unquoted(text: bytes) -> bytes:
    """Return the id of a line that has lost its end."""
    if text.startswith(b'"') and text.endswith(b'"'):
        try:
            return str(json.loads(text)).encode()
        except (ValueError, UnicodeError):  # an id of an older list that only looks like one
            return text
    return text


def require_below(key: str, folder: Path) -> None:
    """Raise UserError for an id that is no path below `folder`: absolute, by way of `..`, or no name at all."""
    if "\0" in key or any(part in ("", ".", "..") for part in key.split("/")):
        raise UserError(
            f"the id {key!r} is no name of a file below {folder}; rename it in the metadata, or take it out"
        )
