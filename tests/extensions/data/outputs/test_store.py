"""Packs of text encoders' outputs: the bits that were given, whole or not at all, damaged ones refused."""

import hashlib
import shutil
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.data.outputs import header, write
from extensions.data.outputs.header import Pack
from extensions.data.outputs.layout import DTYPES
from extensions.data.outputs.store import Outputs

WIDTHS, CHUNK, ROWS, TEXTS = (3, 5), 7, 6, 3
BITS = {2: torch.int16, 4: torch.int32}
NOTE = {"metadata": "abc"}


def chunks_of(text: str, chunks: int) -> list[str]:
    """A text's chunks, three letters each; empty ones behind them."""
    found = [text[at : at + 3] for at in range(0, len(text), 3)] or [""]
    return [*found, *[""] * (chunks - len(found))]


def encoded(text: str, dtype="bfloat16", chunks=0) -> list[torch.Tensor]:
    """Toy encoders, a chunk at a time: states of any bits (NaN, too) that follow from the chunk alone."""
    numbers = []
    for chunk in chunks_of(text, chunks):
        seed = int.from_bytes(hashlib.sha256(chunk.encode()).digest()[:6], "big")
        size, width = (CHUNK, sum(WIDTHS) + 1), DTYPES[dtype].itemsize
        bits = torch.randint(
            -(2 ** (8 * width - 1)), 2 ** (8 * width - 1), size, generator=torch.Generator().manual_seed(seed)
        )
        numbers.append(bits.to(BITS[width]).view(DTYPES[dtype]))
    states = torch.cat(numbers)[None]
    return [states[..., :3], states[..., 3:8], states[:, 0, :5]]


def text_of(row: int, number: int) -> str:
    return ["", "ab", "abcd", "abcdefg", "x" * row][(row + number) % 5] if number else f"row {row}"


def plan(dtype="bfloat16", **more) -> Pack:
    return Pack(**{"widths": WIDTHS, "dtype": dtype, "texts": TEXTS, "rows": ROWS, "shard_rows": 1,
                   "empty_tokens": CHUNK, "made_with": NOTE} | more)  # fmt: skip


def made(folder, dtype="bfloat16", encode=None, **more) -> Pack:
    def tokens_of(text):
        return CHUNK * len(chunks_of(text, 0))

    return write.make(folder, plan(dtype, **more), text_of, encode or (lambda text: encoded(text, dtype)), tokens_of)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch):
    """Two rows a shard."""
    monkeypatch.setattr(write, "SHARD", 2 * TEXTS * 400)


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Every bit, as float32 has it; a NaN is one, whatever its bits."""
    return torch.equal(one.nan_to_num(nan=7.0), other.float().nan_to_num(nan=7.0)) and torch.equal(
        one.isnan(), other.float().isnan()
    )


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_text_is_what_the_encoders_gave(tmp_path, dtype):
    pack = made(tmp_path / "pack", dtype)
    assert pack.shards > 1 and header.read(tmp_path / "pack") == pack
    read = Outputs(tmp_path / "pack")
    for row in range(ROWS):
        for epoch in range(1, 2 * TEXTS + 2):
            text = text_of(row, (epoch - 1) % TEXTS)
            found = read.read([row], epoch)
            assert all(same(one, other) for one, other in zip(found, encoded(text, dtype), strict=True))
            assert all(each.dtype == torch.float32 for each in found)


def test_a_batch_is_padded_with_empty_chunks_as_its_ids_would_be(tmp_path):
    made(tmp_path / "pack")
    read, padded = Outputs(tmp_path / "pack"), False
    for epoch in range(1, TEXTS + 1):
        texts = [text_of(row, epoch - 1) for row in range(ROWS)]
        longest = max(len(chunks_of(text, 0)) for text in texts)
        padded |= longest > min(len(chunks_of(text, 0)) for text in texts)
        wanted = [torch.cat(each) for each in zip(*(encoded(text, chunks=longest) for text in texts), strict=True)]
        found = read.read(list(range(ROWS)), epoch)
        assert all(same(one, other) for one, other in zip(found, wanted, strict=True))
    assert padded


def test_a_text_of_zeros_is_zeros_to_its_end(tmp_path):
    def encode(text):
        states = encoded(text)
        return [torch.zeros_like(each) for each in states] if text == "row 1" else states

    made(tmp_path / "pack", encode=encode)
    found = Outputs(tmp_path / "pack").read([1, 3], 1)
    assert found[0].shape[1] == 2 * CHUNK and not any(each[0].any() for each in found) and found[0][1].any()


def test_an_interrupted_call_goes_on_and_equal_texts_are_encoded_once(tmp_path):
    whole, asked, again = [], [], []
    pack = made(tmp_path / "whole", encode=lambda text: whole.append(text) or encoded(text))
    different = sum(len({text_of(row, number) for number in range(TEXTS)}) for row in range(ROWS))
    assert len(whole) == different + 1, "and the empty chunk"

    def fails(text):
        asked.append(text)
        if text == "row 3":
            raise KeyboardInterrupt
        return encoded(text)

    with pytest.raises(KeyboardInterrupt):
        made(tmp_path / "parts", encode=fails)
    with pytest.raises(UserError, match="holds unfinished text outputs; make text-outputs"):
        Outputs(tmp_path / "parts")
    with pytest.raises(UserError, match="unfinished text outputs of another run or VARIANTS"):
        made(tmp_path / "parts", texts=2)
    assert made(tmp_path / "parts", encode=lambda text: again.append(text) or encoded(text)) == pack
    assert "row 0" not in again and "row 3" in again
    files = {path.name for path in (tmp_path / "whole").iterdir()}
    assert files == {path.name for path in (tmp_path / "parts").iterdir()}
    for name in files:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes()
    with pytest.raises(UserError, match="holds finished text outputs"):
        made(tmp_path / "parts")


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "pack"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(write, "SHARD", 2 * TEXTS * 400)
        made(folder)
    return folder


def everything(folder) -> list[list[torch.Tensor]]:
    read = Outputs(folder)
    return [read.text(row, number) for row in range(ROWS) for number in range(TEXTS)]


@given(st.data())
def test_no_flipped_bit_is_read_as_something_else(packed, tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flipped") / "pack"
    shutil.copytree(packed, folder)
    path = folder / data.draw(
        st.sampled_from(sorted(each.name for each in folder.iterdir() if each.suffix != ".lock"))
    )
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(content)
    try:
        found = everything(folder)
    except UserError as error:
        assert "\n" not in str(error) and folder.name in str(error)
        return
    assert path.name == header.HEADER, "white space"
    wanted = everything(packed)
    assert all(same(a, b) for one, other in zip(found, wanted, strict=True) for a, b in zip(one, other, strict=True))


def test_a_record_in_the_place_of_another_rows_is_refused(packed, tmp_path):
    folder = tmp_path / "pack"
    shutil.copytree(packed, folder)
    read = Outputs(folder)
    rows = read.pack.shard_rows
    assert len(read.pack.rows_of(1)) == rows
    (folder / header.name_of(0)).write_bytes((packed / header.name_of(1)).read_bytes())
    swapped = replace(read.pack, sizes=(read.pack.sizes[1], *read.pack.sizes[1:]))
    (folder / header.HEADER).write_text(swapped.to_json())
    with pytest.raises(UserError, match="text 0 of row 0 is damaged"):
        Outputs(folder).read([0], 1)


def test_no_room_is_one_line_before_anything_is_encoded(tmp_path, monkeypatch):
    monkeypatch.setattr(write.shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(1, 1, 1))
    with pytest.raises(
        UserError, match=r"has 0.00 GB free, the text outputs \(6 images x 3 texts, .* take about"
    ) as no:
        made(tmp_path / "pack", encode=lambda text: pytest.fail("encoded"))
    assert "\n" not in str(no.value)
    assert write.told(77 * 2048 * 2 * 3 * 12.4e6 * 4) == "46.9 TB"


@pytest.mark.parametrize("what", ["gone", "short", "none"])
def test_a_pack_that_is_not_whole(packed, tmp_path, what):
    folder = tmp_path / "pack"
    shutil.copytree(packed, folder)
    shard = folder / header.name_of(1)
    if what == "gone":
        shard.unlink()
    elif what == "short":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        shutil.rmtree(folder)
    with pytest.raises(UserError, match="is missing|bytes instead of|holds no text outputs"):
        Outputs(folder)
