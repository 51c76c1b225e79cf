"""Seals what is written as JSON by a digest of its own, so that a flipped bit is not another fact."""

import json
from typing import Any

import xxhash

FIELD = "digest"


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """Add the xxh3-64 of an object for JSON to it, as its last field."""
    return content | {FIELD: digest_of(content)}


def opened(content: dict[str, Any], required: bool = False) -> dict[str, Any]:
    """Take the digest out again. ValueError where it is wrong; where it is missing, if it is `required`.

    What was written before there were digests has none.
    """
    content = dict(content)
    digest = content.pop(FIELD, None)
    if digest is None and not required:
        return content
    if digest != digest_of(content):
        raise ValueError("its checksum is wrong")
    return content


def digest_of(content: dict[str, Any]) -> str:
    """Compute the xxh3-64 of what an object says, whatever its white space and order, in hexadecimal."""
    return xxhash.xxh3_64_hexdigest(json.dumps(content, sort_keys=True).encode())
