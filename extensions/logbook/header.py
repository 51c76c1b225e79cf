"""Reads the header of a launcher: what the logbook and the records say, above the first command."""

import re
from dataclasses import dataclass, field
from pathlib import Path

LINE = re.compile(r"# (?P<key>model_out_\S+|Session \S+|Hardware|Steps|Record|Note): (?P<text>.+)")


@dataclass
class Header:
    """The header's lines. words: the logbook line, verbatim. defaults: what the session's runs share."""

    words: str = ""
    session: str = ""
    defaults: str = ""
    hardware: str = ""
    steps: str = ""
    record: str = ""
    notes: list[str] = field(default_factory=list)


def read(path: Path) -> Header:
    """Return the header of a launcher; a line that is missing stays empty. OSError if there is no such file."""
    header = Header()
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if match := LINE.fullmatch(line):
            put(header, match["key"], match["text"])
    return header


def put(header: Header, key: str, text: str) -> None:
    """Store one line under its field."""
    if key.startswith("model_out_"):
        header.words = text
    elif key.startswith("Session "):
        header.session, header.defaults = key.removeprefix("Session "), text
    elif key == "Note":
        header.notes.append(text)
    else:
        setattr(header, key.lower(), text)
