"""Chunks against a plain statement of A1111's rule over open_clip's tokenizer; what excludes it."""

import importlib.util
import random
from pathlib import Path

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.plugins import token_chunks
from tests.helpers.token_chunks_cases import BOS, COMMA, EOS, PADS, TOKENIZERS, loaded, plugin, row

CAPTIONS, PARTS = 10_000, 4
IDS = st.lists(st.one_of(st.just(COMMA), st.integers(300, 400)), max_size=400)


@pytest.fixture(scope="module")
def tokenizers(standins):
    return loaded(standins)


@pytest.fixture(scope="module")
def open_clip():
    """open_clip's own tokenizer, A1111's for SD2 and SDXL's second encoder (its file alone: no model code)."""
    package = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", Path(package) / "tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer().encode


# --- the rule, stated once more ---------------------------------------------------------------------


def placed(tokens: list[int]) -> list[list[int]]:
    """The rule for tokens without BREAK, by looking ahead: see 75 tokens and the next one, decide where to cut.

    Given more than 75 tokens to place, and the 76th not a comma: if one of the chunk's tokens at index
    55 to 74 is a comma, cut after the last such; otherwise cut after 75. A 76th that is a comma is
    where A1111 forgets the commas before it.
    """
    found, start = [], 0
    while len(tokens) - start > 75:
        end = 75
        if tokens[start + 75] != COMMA:
            late = [index for index in range(55, 75) if tokens[start + index] == COMMA]
            end = late[-1] + 1 if late else 75
        found.append(tokens[start : start + end])
        start += end
    return [*found, tokens[start:]] if start < len(tokens) else found


def between_breaks(text: str) -> list[str]:
    """The text between the words BREAK: capitals, neither letter, digit nor underscore on either side."""
    pieces, begin, at = [], 0, text.find("BREAK")
    while at >= 0:
        around = (text[at - 1 : at] if at else "") + text[at + 5 : at + 6]
        if not any(sign.isalnum() or sign == "_" for sign in around):
            pieces.append(text[begin:at])
            begin = at + 5
        at = text.find("BREAK", at + 1)
    return [*pieces, text[begin:]]


def expected(text: str, encode) -> list[list[int]]:
    """Chunks of a text. A BREAK ends a chunk, though it be empty; a text ends none that it has not begun."""
    *closed, last = [placed(encode(piece)) for piece in between_breaks(text)]
    chunks = [chunk for piece in closed for chunk in piece or [[]]]
    return [*chunks, *last] or [[]]


def assert_batch(ids: list[torch.Tensor], texts: list[str], family: str, encode) -> list[int]:
    """Ids of a batch are the rule's, to the token, for every encoder. The number of chunks of each text."""
    chunks = [expected(text, encode) for text in texts]
    width = max(map(len, chunks))
    padded = [each + [[]] * (width - len(each)) for each in chunks]
    assert len(ids) == len(PADS[family])
    for found, pad in zip(ids, PADS[family], strict=True):
        assert found.dtype == torch.int64
        assert found.tolist() == [[row(chunk, pad) for chunk in each] for each in padded]
    return [len(each) for each in chunks]


# --- ten thousand captions --------------------------------------------------------------------------

TAGS = (
    "1girl", "solo", "looking_at_viewer", "blue hair", "(medium)", "photo_(medium)", "[brackets]", "{a|b}", ":3",
    ";)", "^_^", "!", "wow!", "BREAK", "break", "BREAKFAST", "_BREAK", "x", "naïve café", "猫", "猫耳 🐈", "don't",
    "a b c d e f g h", "re:zero", "d.va_(overwatch)", "1.5", "🏳️‍🌈", "ｆｕｌｌｗｉｄｔｈ", "\\(escaped\\)",
    "<lora:x:1>", "rock & roll", "",
)  # fmt: skip
TEXTS = st.text(max_size=120) | st.lists(st.sampled_from(TAGS)).map(", ".join)
SENTENCE = "a photograph of a man in a long dark coat who bends toward the camera on wooden legs . BREAK over grass"
JOINTS = (", ", ", ", ", ", ",", " ", " , ", ",,", ",\n", ". ", " BREAK ", "\u3000")


def caption(draw: random.Random) -> str:
    """A text of 0 to some 400 tokens: tags, sentences, joints; every third is aimed at a chunk's border."""
    if draw.random() < 0.3:
        words = ["cat"] * draw.choice([0, 1, 54, 55, 56, 73, 74, 75, 76, 77, 129, 130, 131, 149, 150, 151, 225, 226])
        for _ in range(draw.randint(0, 3)):
            words.insert(draw.randint(0, len(words)), draw.choice([",", ",", "BREAK", "dog", "!"]))
        return " ".join(words)
    pieces = []
    for _ in range(draw.choice([0, 1, 3, 8, 15, 30, 60])):
        piece = draw.choice(TAGS) if draw.random() < 0.85 else " ".join(SENTENCE.split()[: draw.randint(1, 20)])
        pieces += [piece, draw.choice(JOINTS)]
    return "".join(pieces)


@pytest.mark.parametrize("part", range(PARTS))
def test_ten_thousand_captions_to_the_token(part, tokenizers, open_clip):
    draw, widths = random.Random(part), []
    made = {family: plugin() for family in TOKENIZERS}
    while len(widths) < CAPTIONS // PARTS:
        family = draw.choice(["sdxl", "sd2", "sd2"])
        texts = [caption(draw) for _ in range(draw.randint(1, 8))]
        ids = made[family].tokenize(texts=texts, tokenizers=tokenizers[family])
        widths += assert_batch(ids, texts, family, open_clip)
    assert set(range(1, 6)) <= set(widths)
    counted = [sum(pair) for pair in zip(*(each.counts.read()[1] for each in made.values()), strict=True)]
    assert counted == [sum(min(width, 12) == bar for width in widths) for bar in range(1, 13)]


@settings(max_examples=150)
@given(texts=st.lists(TEXTS, min_size=1, max_size=3))
def test_any_unicode_to_the_token(texts, tokenizers, open_clip):
    assume(not any("&" in text or "<|" in text for text in texts))  # open_clip alone reads HTML's entities
    for family in TOKENIZERS:
        assert_batch(plugin().tokenize(texts=texts, tokenizers=tokenizers[family]), texts, family, open_clip)


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("", [0]),
        ("BREAK", [0]),
        ("BREAK cat", [0, 1]),
        ("cat BREAK", [1]),
        ("cat BREAK BREAK dog", [1, 0, 1]),
        ("cat,BREAK,dog", [2, 2]),
        ("breakfast BREAKFAST cat_BREAK", [4]),
        ("cat " * 75, [75]),
        ("cat " * 75 + "BREAK dog", [75, 1]),
        ("cat " * 76, [75, 1]),
        ("cat " * 75 + ", dog", [75, 2]),
        ("cat " * 55 + ", " + "cat " * 20, [56, 20]),
        ("cat " * 54 + ", " + "cat " * 21, [75, 1]),
        ("cat " * 60 + ", " + "cat " * 14 + ", dog", [75, 2]),
        ("cat " * 74 + ", dog", [75, 1]),
        ("cat " * 60 + ", BREAK " + "cat " * 76, [61, 75, 1]),
        # A comma that begins a chunk is forgotten: the next cut finds none.
        ("cat " * 75 + ", " + "cat " * 75, [75, 75, 1]),
    ],
)
def test_borders(text, lengths, tokenizers, open_clip):
    found = plugin().chunks_of(text, tokenizers["sdxl"][0])
    if "breakfast" not in text:
        assert [len(chunk) for chunk in found] == lengths
    assert found == expected(text, open_clip)


@settings(max_examples=300)
@given(IDS)
def test_any_tokens_are_placed_by_the_rule_and_none_is_lost(tokens):
    ours = token_chunks.cut([tokens], COMMA)
    assert [token for chunk in ours for token in chunk] == tokens
    assert ours == (placed(tokens) or [[]])


@given(IDS)
def test_plain_cuts_every_75(tokens):
    chunks = token_chunks.cut([tokens], None)
    assert chunks == ([tokens[i : i + 75] for i in range(0, len(tokens), 75)] or [[]])


def test_short_text_equals_the_plain_tokenizer(tokenizers):
    for family, each in tokenizers.items():
        ids = plugin().tokenize(texts=["a cat, on a mat"], tokenizers=each)
        for ours, tokenizer in zip(ids, each, strict=True):
            plain = tokenizer("a cat, on a mat", padding="max_length", max_length=77, return_tensors="pt").input_ids
            assert torch.equal(ours[0], plain), family


def test_an_end_of_text_in_a_text_begins_the_padding(tokenizers):
    """A1111 pads after the first EOS, whoever wrote it."""
    (ids,) = plugin().tokenize(texts=["cat <|endoftext|> dog"], tokenizers=tokenizers["sd2"])
    assert ids[0, 0].tolist() == [BOS, 2368, EOS, *[0] * 74]


# --- contradictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"max_token_chunks": -1}, "--max_token_chunks=-1"),
        ({"max_token_length": 225}, "--max_token_length and --token_chunks=a1111 exclude each other"),
        ({"max_token_length": 150, "token_chunks": "plain"}, "--max_token_length and --token_chunks=plain"),
        ({"token_chunks": "upstream", "max_token_chunks": 2}, "--max_token_chunks has no effect"),
        *(
            ({"token_chunks": rule, flag: True}, f"--{flag} and --token_chunks={rule} exclude each other")
            for rule in token_chunks.RULES
            for flag in token_chunks.NOT_WITH_ANY
        ),
    ],
)
def test_contradictions_are_one_line(flags, says):
    with pytest.raises(UserError) as caught:
        plugin(**flags)
    assert says in str(caught.value) and "\n" not in str(caught.value)
