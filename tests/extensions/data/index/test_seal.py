"""The seal of an index: a text of fixed length that no flipped bit passes, in a file that any Arrow reader reads."""

import numpy as np
import pyarrow as pa
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from extensions.data.index import seal
from extensions.data.index.build import build
from extensions.data.index.layout import index_of
from extensions.data.index.policies import Policies

WORDS = st.integers(0, 2**64 - 1)
BATCHES = st.lists(st.tuples(st.integers(0, 2**62), st.integers(0, 2**62), WORDS), max_size=5)


def sealed(size: int, numbers: int, structure: int, batches) -> seal.Seal:
    bodies = np.array([each[:2] for each in batches], np.int64).reshape(-1, 2)
    return seal.Seal(size, numbers, structure, bodies, np.array([each[2] for each in batches], np.uint64))


def as_tuple(one: seal.Seal) -> tuple:
    return one.size, one.numbers, one.structure, one.bodies.tolist(), one.keys.tolist()


@given(WORDS, WORDS, WORDS, BATCHES)
def test_what_is_written_is_read_in_the_place_of_a_blank(size, numbers, structure, batches):
    one = sealed(size, numbers, structure, batches)
    text = one.encode()
    assert len(text) == len(seal.blank(len(batches))) and text.startswith(seal.MARK)
    assert as_tuple(seal.Seal.decode(text.removeprefix(seal.MARK))) == as_tuple(one)


@given(BATCHES, st.data())
def test_a_changed_or_missing_character_is_seen(batches, data):
    text = sealed(1, 2, 3, batches).encode().removeprefix(seal.MARK)
    place = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.sampled_from([bytes([c]) for c in b"0123456789abcdef" if c != text[place]]))
    for damaged in (text[:place] + other + text[place + 1 :], text[:place]):
        with pytest.raises(seal.Broken):
            seal.Seal.decode(damaged)


@pytest.fixture
def path(written, small_parts):
    entries = [(str(i), {"tags": "a", "caption": "", "train_resolution": [64, 64]}) for i in range(10)]
    meta = written(entries)
    build([meta], index_of(meta), None, Policies())
    return index_of(meta)


def test_arrow_reads_the_file_as_any_other_and_it_holds_what_is_sealed(path):
    table = pa.ipc.open_file(path).read_all()
    assert table.column("key").to_pylist() == [str(i) for i in range(10)]
    known = seal.verified(path)
    assert known.size == path.stat().st_size and len(known.bodies) == len(known.keys) == 3
    numbers = table.column("every_bucket").chunk(0).values
    assert known.numbers == xxhash.xxh3_64_intdigest(np.asarray(numbers, "<i2").tobytes())


def test_both_seals_of_the_file_say_the_same(path):
    content = path.read_bytes()
    assert content.count(seal.MARK) == 2 and seal.blank(3) not in content
    first, second = (
        content[at : at + len(seal.blank(3))] for at in (content.find(seal.MARK), content.rfind(seal.MARK))
    )
    assert first == second


def test_every_byte_outside_of_the_bodies_is_held(path):
    content, known = path.read_bytes(), seal.verified(path)
    inside = {at for offset, length in known.bodies.tolist() for at in range(offset, offset + length)}
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        if at in inside:
            seal.verified(path)
        else:
            with pytest.raises(seal.Broken):
                seal.verified(path)
