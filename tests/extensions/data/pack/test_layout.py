"""One record: what is written is read, one wrong bit is seen, lowering rounds as torch rounds."""

import numpy as np
import pytest
import torch

from extensions.data.latents import CorruptSample
from extensions.data.pack.__main__ import Dtype
from extensions.data.pack.layout import ALIGN, STORED, Layout, lowered, widened
from extensions.data.pack.plan import KEEP

KINDS = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


def record_of(dtype, size=(192, 128)):
    layout = Layout(*size, dtype)
    stored = lowered(np.random.default_rng(1).normal(0, 9, layout.shape).astype(np.float32), dtype, "a")
    return layout, stored, np.frombuffer(layout.encode(stored, (3000, 2000), (7, 0)), np.uint8).copy()


@pytest.mark.parametrize("dtype", STORED)
def test_a_record_is_read_as_it_was_written(dtype):
    layout, stored, record = record_of(dtype)
    read = layout.decode(record)
    assert len(record) == layout.record_bytes and layout.record_bytes % ALIGN == 0 and layout.intact(record)
    assert read.latents.dtype == np.float32 and np.array_equal(read.latents, widened(stored))
    assert read.original_size == (3000, 2000) and read.crop == (7, 0)


def test_where_things_lie():
    """The bytes of a version: a pack of today is read by the trainer of next year."""
    layout = Layout(64, 64, "float32")
    record = layout.encode(np.arange(256, dtype="<f4").reshape(layout.shape), (300, 200), (3, 5))
    assert record[:1024] == np.arange(256, dtype="<f4").tobytes()
    assert np.frombuffer(record[1024:1040], "<i4").tolist() == [300, 200, 3, 5]
    assert record[1040:1048].hex() == "3198c9cbbbcb3850" and record[1048:] == bytes(40)


def test_one_wrong_bit_anywhere_is_seen():
    layout, _, record = record_of("float16", (64, 64))
    for byte in range(layout.payload_bytes + 8):
        broken = record.copy()
        broken[byte] ^= 1 << (byte % 8)
        assert not layout.intact(broken)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_lowering_rounds_as_torch_does(dtype):
    draw = np.random.default_rng(2)
    bits = draw.integers(0, 1 << 32, 300_000, dtype=np.uint32)
    values = bits.view(np.float32)
    values = np.concatenate([values[np.abs(values) < 6e4], draw.normal(0, 5, 100_000).astype(np.float32)])
    values = np.concatenate([values, np.array([0x3F808000, 0x3F818000, 1], np.uint32).view(np.float32)])
    wanted = torch.from_numpy(values).to(KINDS[dtype]).float().numpy()
    assert np.array_equal(widened(lowered(values, dtype, "a")), wanted)


@pytest.mark.parametrize(("dtype", "value"), [("float16", 7e4), ("bfloat16", 3.4e38)])
def test_what_the_dtype_cannot_hold_is_refused_by_name(dtype, value):
    with pytest.raises(CorruptSample, match=f"'id7' reach .*more than {dtype} holds"):
        lowered(np.array([1, -value], np.float32), dtype, "id7")


def test_the_command_offers_every_dtype():
    assert [each.value for each in Dtype] == [KEEP, *STORED]
