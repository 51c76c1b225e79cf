"""Batches against a plain statement of A1111's rule over open_clip's tokenizer; what excludes the plugin."""

import random

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.flags.settings import TOKEN_RULES
from extensions.plugins import token_chunks
from tests.helpers.plugin_flags import parsed
from tests.helpers.token_chunks_cases import PADS, TOKENIZERS, expected, loaded, open_clips, plugin, row

CAPTIONS, PARTS = 10_000, 4


@pytest.fixture(scope="module")
def tokenizers(standins):
    return loaded(standins)


@pytest.fixture(scope="module")
def open_clip():
    return open_clips()


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


def test_short_text_equals_the_plain_tokenizer(tokenizers):
    for family, each in tokenizers.items():
        ids = plugin().tokenize(texts=["a cat, on a mat"], tokenizers=each)
        for ours, tokenizer in zip(ids, each, strict=True):
            plain = tokenizer("a cat, on a mat", padding="max_length", max_length=77, return_tensors="pt").input_ids
            assert torch.equal(ours[0], plain), family


@pytest.mark.parametrize("rule", ["a1111", "plain"])
@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_an_end_of_text_in_a_text_ends_nothing(rule, family, tokenizers, open_clip):
    made = plugin(f"--token_chunks={rule}")
    words = [*open_clip("cat <|"), *open_clip("endoftext"), *open_clip("|> dog")]
    for ids, pad in zip(
        made.tokenize(texts=["cat <|endoftext|> dog"], tokenizers=tokenizers[family]), PADS[family], strict=True
    ):
        assert ids[0].tolist() == [row(words, pad)]
    assert made.counts.read()[0] == {"texts": 1, "cut": 0, "tokens": len(words), "lost": 0}


# --- contradictions ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "trainers", "says"),
    [
        ([], {"max_token_length": 225}, "--max_token_length and --token_chunks=a1111 exclude each other"),
        (["--token_chunks=plain"], {"max_token_length": 150}, "--max_token_length and --token_chunks=plain"),
        (["--token_chunks=upstream", "--max_token_chunks=2"], {}, "--max_token_chunks has no effect"),
        *(
            ([f"--token_chunks={rule}"], {flag: True}, f"--{flag} and --token_chunks={rule} exclude each other")
            for rule in TOKEN_RULES
            for flag in token_chunks.NOT_WITH_ANY
        ),
    ],
)
def test_contradictions_are_one_line(words, trainers, says):
    with pytest.raises(UserError) as caught:
        plugin(*words, **trainers)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--max_token_chunks=-1", "--max_token_chunks: '-1' is not a whole number from 0 up"),
        ("--token_chunks=a111", "--token_chunks: invalid choice: 'a111'"),
    ],
)
def test_values_that_are_none(word, says):
    with pytest.raises(UserError, match=says):
        parsed("token_chunks", word)
