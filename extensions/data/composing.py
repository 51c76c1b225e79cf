"""Composes the text of a sample by the plugins that a run lists."""

import random

from extensions import manager
from extensions.data.metadata import Sample


def fields_read(args) -> dict[str, str]:
    """Return the other fields of the metadata that plugins compose texts of; see `hookspecs.metadata_fields`."""
    found: dict[str, str] = {}
    for each in manager.current().hook.metadata_fields(args=args):
        found |= each or {}
    return found


def composed(args, sample: Sample, caption: str, tags: str, draw: random.Random) -> str:
    """Return what a plugin composes; without one caption and tags joined, as upstream does."""
    text = manager.current().hook.compose_text(
        caption=caption, tags=tags, key=sample.key, fields=dict(sample.fields), draw=draw, args=args
    )
    if text is not None:
        return text
    return args.caption_separator.join(part for part in (caption, tags) if part)
