"""Writes Markdown in which every text from a run, a launcher or a data set is text, and nothing else.

A template's own words are Markdown; whatever stands in its braces is escaped, unless it was made here (`Markdown`).
"""

import html
import re
from functools import cache
from pathlib import Path

from extensions.base.errors import printable

TEMPLATES = Path(__file__).with_name("templates")
# What begins something anywhere in a line: `_` not within a word; `:` and `.` in what some readers make a link of, or
# a picture (`:cat:`). What does so at the beginning of a line or of a list's item: signs, and the mark of a number.
ANYWHERE = re.compile(r"([\\`*{}\[\]#!|~^$@]|(?<![^\W_])_|_(?![^\W_])|:(?=\S)|(?<=www)\.)", re.IGNORECASE)
FIRST = re.compile(r"^(\d*)((?<!\d)[-+=](?=[-+=\s]|$)|(?<=\d)[.)](?=\s|$))")


class Markdown(str):
    """A text that is Markdown already."""


def escaped(value: object) -> Markdown:
    """Return any text as Markdown that shows it, on one line: no tag, link, table cell or heading comes of it."""
    if isinstance(value, Markdown):
        return value
    # A lone surrogate stands for a byte of a file's name; it is printed as Python writes it, like all control signs.
    text = printable(str(value)).strip()
    return Markdown(FIRST.sub(r"\1\\\2", html.escape(ANYWHERE.sub(r"\\\1", text), quote=False)))


def code(value: object) -> Markdown:
    """Return a text as code. A tag and not backticks, in which no `|` of a table and no backtick can be escaped."""
    return Markdown(f"<code>{escaped(value)}</code>")


def cells(row) -> Markdown:
    """Return the cells of a table's row, without the first and last bar."""
    return Markdown(" | ".join(escaped(cell) for cell in row))


@cache
def environment():
    """Return jinja's, which escapes what stands in braces and knows no name that is not given."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(
        loader=FileSystemLoader(TEMPLATES), finalize=escaped, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    made.filters |= {"code": code, "cells": cells}
    return made


def render(template: str, **known) -> str:
    """Return a template of this room filled in."""
    return environment().get_template(f"{template}.md.jinja").render(**known)
