"""Chunk boundaries against a separate, plain statement of A1111's rule; states against single chunks."""

import argparse

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions import token_chunks
from extensions.errors import UserError

COMMA = 267
WORDS = st.lists(st.one_of(st.just(COMMA), st.integers(300, 400)), max_size=400)


def a1111(tokens: list[int]) -> list[list[int]]:
    """The rule, stated on whole texts: look at 75 tokens and the next one, decide where to cut.

    Given more than 75 tokens to place, and the 76th not a comma: if one of the chunk's tokens at index
    55 to 74 is a comma, cut after the last such; otherwise cut after 75. A 76th that is a comma is
    where A1111 forgets the commas before it.
    """
    chunks, start = [], 0
    while len(tokens) - start > 75:
        window = tokens[start : start + 75]
        end = 75
        if tokens[start + 75] != COMMA:
            late = [index for index in range(55, 75) if window[index] == COMMA]
            if late:
                end = late[-1] + 1
        chunks.append(tokens[start : start + end])
        start += end
    return [*chunks, tokens[start:]] if tokens[start:] or not chunks else chunks


@settings(max_examples=500, deadline=None)
@given(WORDS)
def test_boundaries_are_a1111s(tokens):
    ours = token_chunks.cut([tokens], COMMA)
    assert [token for chunk in ours for token in chunk] == tokens
    assert ours == a1111(tokens)


@given(WORDS)
def test_plain_cuts_every_75(tokens):
    chunks = token_chunks.cut([tokens], None)
    assert chunks == ([tokens[i : i + 75] for i in range(0, len(tokens), 75)] or [[]])


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_break_begins_a_chunk(parts):
    chunks = token_chunks.cut(parts, COMMA)
    assert [t for c in chunks for t in c] == [t for p in parts for t in p]
    bounds = [0]
    for chunk in chunks:
        bounds.append(bounds[-1] + len(chunk))
    ends = [sum(len(p) for p in parts[: i + 1]) for i in range(len(parts) - 1)]
    assert set(ends) <= set(bounds)


@pytest.mark.parametrize(
    ("length", "comma_at", "first"),
    [(75, 60, 75), (76, 74, 75), (76, 60, 61), (76, 55, 56), (76, 54, 75), (150, 70, 71), (10, 5, 10)],
)
def test_backtrack_of_twenty(length, comma_at, first):
    tokens = [500] * length
    tokens[comma_at] = COMMA
    assert len(token_chunks.cut([tokens], COMMA)[0]) == first


def plugin(**flags):
    made = token_chunks.Plugin()
    args = {"token_chunks": "a1111", "max_token_chunks": 0, "max_token_length": None} | flags
    made.check_arguments(args=argparse.Namespace(**args))
    return made


@pytest.fixture(scope="module")
def tokenizers(standins):
    from transformers import CLIPTokenizer

    first = CLIPTokenizer.from_pretrained(standins["tokenizers"] / "openai_clip-vit-large-patch14")
    second = CLIPTokenizer.from_pretrained(standins["tokenizers"] / "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k")
    second.pad_token_id = 0  # as upstream does
    return [first, second]


def test_short_text_equals_the_plain_tokenizer(tokenizers):
    ids = plugin().tokenize(texts=["a cat, on a mat"], tokenizers=tokenizers)
    for ours, tokenizer in zip(ids, tokenizers, strict=True):
        plain = tokenizer("a cat, on a mat", padding="max_length", max_length=77, return_tensors="pt").input_ids
        assert torch.equal(ours[0], plain)


def test_batch_is_as_wide_as_its_longest_text(tokenizers):
    ids = plugin().tokenize(texts=["cat", "dog, " * 100, ""], tokenizers=tokenizers)
    assert [tuple(each.shape) for each in ids] == [(3, 3, 77)] * 2
    bos, eos = tokenizers[0].bos_token_id, tokenizers[0].eos_token_id
    assert (ids[0][..., 0] == bos).all()
    assert ids[0][0, 1].tolist() == [bos, *[eos] * 76]
    assert ids[1][0, 1].tolist() == [bos, eos, *[0] * 75]


def test_limit_cuts_and_counts(tokenizers):
    made = plugin(max_token_chunks=2)
    ids = made.tokenize(texts=["dog, " * 100, "cat"], tokenizers=tokenizers)
    assert ids[0].shape == (2, 2, 77)
    assert list(made.counts) == [2, 1, 3]


def test_break_in_text(tokenizers):
    ids = plugin().tokenize(texts=["cat BREAK dog"], tokenizers=tokenizers)
    assert ids[0].shape == (1, 2, 77)
    assert tokenizers[0].decode(ids[0][0, 1, 1:2]) == "dog"


def text_encoders():
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 1, "num_hidden_layers": 3}
    torch.manual_seed(0)
    first = CLIPTextModel(CLIPTextConfig(**sizes)).eval()
    second = CLIPTextModelWithProjection(CLIPTextConfig(**sizes, projection_dim=64)).eval()
    return [first, second]


def test_states_are_those_of_each_chunk_alone(tokenizers):
    made, encoders = plugin(), text_encoders()
    ids = made.tokenize(texts=["dog, " * 100, "cat"], tokenizers=tokenizers)
    with torch.no_grad():
        first, second, pooled = made.encode_tokens(
            input_ids=ids, tokenizers=tokenizers, text_encoders=encoders,
            projection=encoders[1].text_projection, clip_skip=None,
        )  # fmt: skip
        assert first.shape == second.shape == (2, 3 * 77, 64)
        for row in range(2):
            for chunk in range(3):
                alone = encoders[0](ids[0][row, chunk][None], output_hidden_states=True).hidden_states[-2]
                torch.testing.assert_close(first[row, chunk * 77 : (chunk + 1) * 77], alone[0])
            # transformers' own pooling (highest id, the first EOS) is the oracle for ours.
            torch.testing.assert_close(pooled[row], encoders[1](ids[1][row, :1]).text_embeds[0])


def test_zero_rows_of_upstreams_padding_become_empty_chunks(tokenizers):
    ids = torch.zeros(1, 2, 77, dtype=torch.long)
    ids[0, 0] = torch.tensor(token_chunks.wrap([320], tokenizers[1]))
    filled = token_chunks.fill_padding(ids, tokenizers[1])
    assert filled[0, 1].tolist() == token_chunks.wrap([], tokenizers[1])
    assert torch.equal(filled[0, 0], ids[0, 0])


@pytest.mark.parametrize(
    "flags",
    [
        {"max_token_chunks": -1},
        {"max_token_length": 225},
        {"token_chunks": "upstream", "max_token_chunks": 2},
    ],
)
def test_contradictions_are_refused(flags):
    with pytest.raises(UserError):
        plugin(**flags)
