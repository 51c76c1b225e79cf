"""Reads the texts beside an image: `a.txt` its tags, `a.caption` its caption, or files of other suffixes.

A text is UTF-8, or of the encoding that is asked for; a byte-order mark is no part of it, and one that says another
encoding is believed, not read over. What cannot be a text is bad, however it happens to decode.
"""

import codecs
import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from extensions.base.errors import UserError

TAGS, CAPTION, ENCODING = ".txt", ".caption", "utf-8"
LARGEST = 1 << 20  # bytes of a text
WIDE = {codecs.BOM_UTF16_LE: "UTF-16", codecs.BOM_UTF16_BE: "UTF-16", codecs.BOM_UTF32_BE: "UTF-32"}
# Names that cannot be there: nothing lies beside such an image.
NOWHERE = (errno.ENOENT, errno.ENAMETOOLONG)

Texts = tuple[str | None, str | None]


class BadText(UserError):
    """A text that is there and cannot be read. The message names the file."""


@dataclass(frozen=True)
class Sidecars:
    """Where texts lie beside an image: the suffixes of the files with tags and caption ("": none), the encoding."""

    tags: str = TAGS
    caption: str = CAPTION
    encoding: str = ENCODING

    @classmethod
    def asked(cls, tags: str = "", caption: str = "", encoding: str = "") -> "Sidecars":
        """Return what is asked for, "" standing for what is usual. UserError for what is no suffix, or no encoding.

        A caption in `.txt` leaves no tags where nothing is said of them: one file is not both.
        """
        after = dotted(caption or CAPTION, "CAPTION")
        before = dotted(tags, "TAGS") if tags else TAGS if after != TAGS else ""
        if before == after:
            raise UserError(f"TAGS and CAPTION are both {after}; give each the suffix of its own files")
        return cls(before, after, known(encoding or ENCODING))

    def texts(self, image: Path) -> Texts:
        """Return (tags, caption) of an image, None for one that is not there. BadText for one that cannot be read."""
        tags, caption = (self.text(image, suffix) if suffix else None for suffix in (self.tags, self.caption))
        return tags, caption

    def text(self, image: Path, suffix: str) -> str | None:
        """Return the text beside an image; its suffix in capitals, as some cameras and systems write, is the same."""
        found = contents(image.with_suffix(suffix))
        if found is None and suffix != suffix.upper():
            suffix = suffix.upper()
            found = contents(image.with_suffix(suffix))
        return None if found is None else decoded(image.with_suffix(suffix), found, self.encoding)


def dotted(suffix: str, name: str) -> str:
    """Return a suffix with its dot. UserError for what no file's name can end with."""
    if "/" in suffix or "\0" in suffix or not suffix.strip(". "):
        raise UserError(f"{name}={suffix}: give the suffix of the files beside the images, such as .txt")
    return suffix if suffix.startswith(".") else f".{suffix}"


def known(encoding: str) -> str:
    """Return an encoding of texts. UserError for one that Python does not have."""
    try:
        "a".encode(encoding)  # refuses those of bytes, such as hex, too
        return codecs.lookup(encoding).name
    except (LookupError, UnicodeError, ValueError):
        said = f"TEXT_ENCODING={encoding} is no encoding of texts; give one such as utf-8, utf-16, latin-1, cp932"
        raise UserError(said) from None


def contents(path: Path) -> bytes | None:
    """Return what a file holds; None where there is none. BadText for what is no file, or cannot be read."""
    try:
        # A pipe would be waited for, without the flag.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadText(f"{path} cannot be read (no file but a folder, a pipe or a device); take it out")
            found = file.read(LARGEST + 1)
    except OSError as error:
        if error.errno in NOWHERE and not os.path.islink(path):
            return None
        raise BadText(f"{path} cannot be read ({error.strerror}); mend that, or take it out") from None
    if len(found) > LARGEST:
        raise BadText(f"{path} cannot be read (more than {LARGEST:,} bytes, no text of an image); take it out")
    return found


def decoded(path: Path, found: bytes, encoding: str) -> str:
    """Return the text of a file's bytes. BadText where they are none in this encoding."""
    wide = next((name for mark, name in WIDE.items() if found.startswith(mark)), None)
    if found.startswith(codecs.BOM_UTF8):
        encoding = ENCODING
    elif wide and not encoding.startswith(("utf-16", "utf-32")):
        raise BadText(f"{path} cannot be read (it is {wide}); save it as UTF-8, or give TEXT_ENCODING={wide.lower()}")
    try:
        text = found.decode(encoding).removeprefix("\ufeff")
        text.encode()  # halves of characters are in no file
    except UnicodeError as error:
        reason = " ".join(str(error).split())[:100]
        said = f"{path} cannot be read ({reason}); save it as UTF-8, or give its TEXT_ENCODING="
        raise BadText(said) from None
    if "\0" in text:
        said = f"{path} cannot be read (zero bytes, as UTF-16 has them); save it as UTF-8, or give its TEXT_ENCODING="
        raise BadText(said)
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()
