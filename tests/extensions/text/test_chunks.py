"""Chunks against a plain statement of A1111's rule over open_clip's tokenizer."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.text import chunks
from tests.helpers.token_chunks_cases import BOS, COMMA, EOS, expected, loaded, open_clips, placed, row

IDS = st.lists(st.one_of(st.just(COMMA), st.integers(300, 400)), max_size=400)


@pytest.fixture(scope="module")
def tokenizers(standins):
    """{family: tokenizers as the trainers load them}."""
    return loaded(standins)


@pytest.fixture(scope="module")
def open_clip():
    return open_clips()


@pytest.mark.parametrize(
    ("text", "lengths"),
    [
        ("", [0]),
        ("BREAK", [0]),
        ("BREAK cat", [0, 1]),
        ("cat BREAK", [1]),
        ("cat BREAK BREAK dog", [1, 0, 1]),
        ("cat,BREAK,dog", [2, 2]),
        ("breakfast BREAKFAST cat_BREAK", [5]),
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
    found = chunks.cut(chunks.text_parts(text, tokenizers["sdxl"][0]), COMMA)
    assert [len(chunk) for chunk in found] == lengths
    assert found == expected(text, open_clip)


@settings(max_examples=300)
@given(IDS)
def test_any_tokens_are_placed_by_the_rule_and_none_is_lost(tokens):
    ours = chunks.cut([tokens], COMMA)
    assert [token for chunk in ours for token in chunk] == tokens
    assert ours == (placed(tokens) or [[]])


@given(IDS)
def test_plain_cuts_every_75(tokens):
    assert chunks.cut([tokens], None) == ([tokens[i : i + 75] for i in range(0, len(tokens), 75)] or [[]])


@given(IDS, st.integers(1, 74))
def test_a_shorter_way_back_cuts_where_its_last_comma_is(tokens, backtrack):
    """What follows the last comma moves on, if it is no more than that many tokens."""
    first, *rest = chunks.cut([tokens], COMMA, backtrack)
    if not rest or tokens[75:76] == [COMMA]:
        assert first == tokens[:75]
        return
    commas = [index for index in range(75 - backtrack, 75) if tokens[index] == COMMA]
    assert first == tokens[: commas[-1] + 1 if commas else 75]


def test_a_row_is_77_ids_whatever_the_chunk(tokenizers):
    pads = {"sdxl": (EOS, 0), "sd2": (0,)}
    for family, each in tokenizers.items():
        for tokenizer, pad in zip(each, pads[family], strict=True):
            for chunk in ([], [320], [320] * 74, [320] * 75):
                ids = chunks.wrap(chunk, tokenizer)
                assert len(ids) == 77 and ids[0] == BOS and ids == row(chunk, pad)
            assert chunks.wrap([320, EOS, 321], tokenizer)[3:] == [pad] * 74 if pad == 0 else [321] + [EOS] * 73


@pytest.mark.parametrize(
    ("lengths", "limit", "counted"),
    [([0], 0, (1, 0, 0)), ([75, 3], 0, (2, 78, 0)), ([75, 56, 9], 2, (2, 140, 9)), ([4], 3, (1, 4, 0))],
)
def test_what_a_limit_keeps(lengths, limit, counted):
    assert chunks.kept([[1] * length for length in lengths], limit) == counted


def test_a_pad_token_that_is_a_word_stays_that_word(tokenizers):
    """SD2's pad is "!": a text's own exclamation marks are not to be taken for it."""
    (tokenizer,) = tokenizers["sd2"]
    assert chunks.ids_of("wow!", tokenizer) == tokenizers["sdxl"][0]("wow!", add_special_tokens=False).input_ids
