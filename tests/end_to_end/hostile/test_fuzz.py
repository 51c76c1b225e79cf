"""Mutated files of every kind that strangers hand over: read, or refused in one line; never a traceback.

FUZZ=20000 takes so many examples of each kind instead of the few of every day.
"""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from extensions.base.errors import UserError
from extensions.data import npz
from extensions.data.index import Index
from extensions.data.index.build import build
from extensions.data.index.layout import beside, index_of
from extensions.data.index.policies import Policies
from extensions.data.pack import header, make
from extensions.model.checkpoint import read_header
from extensions.resume import parts, states
from extensions.resume.description import Description
from tests.helpers import npz_sets, pack_cases

EXAMPLES = int(os.environ.get("FUZZ", "40"))
# What stands for a number or a text in a JSON that was not written by us.
NASTY = [
    b"-1", b"0", b"1e400", b"-1e400", b"1e999999999", b"NaN", b"Infinity", b"1.5", b"9" * 400,
    b"18446744073709551616", b"null", b"true", b"[]", b"{}", b'""', b'"\\ud800"', b'"\\u0000"', b'"../../x"',
    b"[" * 3000, b'{"a":' * 3000,
    b'"' + b"x" * 70_000 + b'"', b"\xef\xbb\xbf", b"\xff\xfe", b"\x00", b"\r\n", b",,", b"}", b"]",
]  # fmt: skip
CHANGES = st.lists(
    st.tuples(
        st.sampled_from(["flip", "cut", "drop", "twice", "nasty", "token", "noise"]),
        st.floats(0, 1, exclude_max=True),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def mutated(content: bytes, changes: list[tuple[str, float, int]]) -> bytes:
    """The content after some changes, each at a share of its length."""
    for kind, share, number in changes:
        at = int(share * len(content))
        end = at + 1 + number % 40
        if kind == "flip" and content:
            content = content[:at] + bytes([content[at] ^ (1 << number % 8)]) + content[at + 1 :]
        elif kind == "cut":
            content = content[:at]
        elif kind == "drop":
            content = content[:at] + content[end:]
        elif kind == "twice":
            content = content[:end] + content[at:]
        elif kind == "nasty":
            content = content[:at] + NASTY[number % len(NASTY)] + content[at:]
        elif kind == "token":
            content = with_token(content, at, NASTY[number % len(NASTY)])
        elif kind == "noise":
            content = content[:at] + bytes([number]) * 9 + content[end:]
    return content


def with_token(content: bytes, at: int, token: bytes) -> bytes:
    """The value of JSON behind a place replaced: from a colon to the next comma or bracket."""
    start = content.find(b":", at) + 1
    if not start:
        return content
    ends = [place for mark in b",}]" if (place := content.find(bytes([mark]), start)) > 0]
    return content[:start] + token + content[min(ends, default=len(content)) :]


def read_metadata(path: Path) -> None:
    try:
        build([path], index_of(path), None, Policies())
    finally:
        index_of(path).unlink(missing_ok=True)
        for left in path.parent.glob(".*"):
            if left == beside(index_of(path), "part"):
                for part in left.iterdir():
                    part.unlink()


def metadata(folder: Path) -> tuple[Path, object]:
    return npz_sets.make(folder, count=3)[0], read_metadata


def jsonl(folder: Path) -> tuple[Path, object]:
    path = folder / "set.jsonl"
    entry = {"image_path": "/a/b.jpg", "caption": "A cat.", "tags": "a, b", "image_size": [64, 128]}
    path.write_text("".join(json.dumps(entry | {"image_path": f"/a/{i}.jpg"}) + "\n" for i in range(3)))
    return path, read_metadata


def latents(folder: Path) -> tuple[Path, object]:
    npz_sets.write(folder, "a", npz_sets.latents_of(1, (64, 64)))
    return folder / "a.npz", lambda path: npz.load(path.parent, "a", 64, 64)


def compressed(folder: Path) -> tuple[Path, object]:
    npz_sets.write(folder, "a", npz_sets.latents_of(1, (64, 64)), save=np.savez_compressed)
    return folder / "a.npz", lambda path: npz.load(path.parent, "a", 64, 64)


def pack(folder: Path) -> tuple[Path, object]:
    meta, data = npz_sets.make(folder, count=3)
    build([meta], index_of(meta), data, Policies())
    make.make(Index(index_of(meta)), make.Wish(data, folder / "pack", shard_bytes=pack_cases.TWO_RECORDS), jobs=1)
    path = folder / "pack" / "pack.json"
    content = json.loads(path.read_text())
    del content["digest"]  # as a pack of before: the checksum would refuse every change alike
    path.write_text(json.dumps(content | {"version": 1}))
    return path, lambda path: header.read(path.parent)


def state(folder: Path) -> tuple[Path, object]:
    temporary = states.begin(folder, 7)
    entry = parts.Part("w.safetensors", {"w": torch.arange(4.0)}).write(temporary)
    path = states.commit(temporary, Description(7, made_with={"data": "a"}), {"w.safetensors": entry}).path
    content = json.loads((path / "state.json").read_text())
    del content["digest"]
    (path / "state.json").write_text(json.dumps(content))
    return path / "state.json", lambda path: states.verify(states.read(path.parent))


def checkpoint(folder: Path) -> tuple[Path, object]:
    path = folder / "a.safetensors"
    path.write_bytes(save({"a": torch.zeros(2, 3), "b": torch.ones(1, dtype=torch.bfloat16)}, {"k": "v"}))
    return path, read_header


@pytest.fixture(scope="module", params=[metadata, jsonl, latents, compressed, pack, state, checkpoint])
def subject(request, tmp_path_factory):
    """(a file, its whole content, what reads it)."""
    path, read = request.param(tmp_path_factory.mktemp(request.param.__name__))
    content = path.read_bytes()
    read(path)
    return path, content, read


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(changes=CHANGES)
@example(changes=[("token", 0.0, 244), ("token", 0.5, 0)])  # an id of 10,000 letters in a line about its caption
@example(changes=[("token", 0.25, 148), ("nasty", 0.5, 148)])  # a shard of 10^400 records
def test_it_is_read_or_refused_in_one_line(subject, changes):
    path, content, read = subject
    path.write_bytes(mutated(content, changes))
    try:
        read(path)
    except UserError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000
