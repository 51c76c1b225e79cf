"""Token ids of one chunk and their hidden states are upstream's; a plugin's answer wins over both."""

import inspect

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions import manager
from extensions.hookspecs import hookimpl
from extensions.reference.text import Text
from extensions.text.encoding import encode_sd2

TEXTS = ["", "a cat, on a mat", "1girl, (solo:1.2), [blue] hair \\(style\\)", "naïve 猫 🐈", "dog, " * 200, "a " * 75]
FAMILIES = ("sdxl", "sd2")
LENGTHS = [None, 150, 225]
BORDERS = ["cat " * n + end for n in (74, 75, 76, 149, 150, 151, 224, 225, 226) for end in ("", "!", "dog")]


@pytest.fixture(scope="module")
def texts(standins):
    return {family: Text(family, str(standins["tokenizers"]), None) for family in FAMILIES}


@pytest.fixture(scope="module")
def strategies(standins, patched):
    from library import strategy_sd, strategy_sdxl

    sdxl = strategy_sdxl.SdxlTokenizeStrategy(None, str(standins["tokenizers"]))
    sd2 = strategy_sd.SdTokenizeStrategy(True, None, str(standins["tokenizers"]))
    return {"sdxl": sdxl, "sd2": sd2}


def upstreams(method):
    """A strategy's method without the seam around it."""
    return inspect.unwrap(method.__func__).__get__(method.__self__)


@pytest.fixture
def encoders(loaded):
    return {family: [encoder.eval() for encoder in found.models.text_encoders] for family, found in loaded.items()}


@pytest.fixture
def at_length(texts, strategies, monkeypatch):
    """A function that sets --max_token_length of both."""

    def set_length(length):
        for family in FAMILIES:
            monkeypatch.setattr(texts[family], "length", length or 75)
            monkeypatch.setattr(strategies[family], "max_length", (length or 75) + 2)

    return set_length


def assert_tokens_are_upstreams(texts, strategy, batch, length=None):
    ours, theirs = texts.tokenize(batch), upstreams(strategy.tokenize)(batch)
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.dtype == b.dtype and a.shape == (len(batch), (length or 75) // 75, 77) and torch.equal(a, b)


@pytest.mark.upstream
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("family", FAMILIES)
def test_token_ids_are_upstreams(family, length, texts, strategies, at_length):
    at_length(length)
    assert_tokens_are_upstreams(texts[family], strategies[family], TEXTS + BORDERS, length)


@pytest.mark.upstream
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batch=st.lists(st.text(max_size=300), min_size=1, max_size=3), length=st.sampled_from(LENGTHS))
def test_token_ids_are_upstreams_whatever_the_text(batch, length, texts, strategies, at_length):
    at_length(length)
    for family in FAMILIES:
        assert_tokens_are_upstreams(texts[family], strategies[family], batch, length)


def test_sdxls_second_tokenizer_pads_with_zero(texts):
    first, second = texts["sdxl"].tokenize(["a cat"])
    eos = texts["sdxl"].tokenizers[0].eos_token_id
    assert first[0, 0, -1] == eos and second[0, 0, -1] == 0
    assert torch.equal(first[0, 0, :4], second[0, 0, :4])


@pytest.mark.upstream
@pytest.mark.parametrize("length", LENGTHS)
def test_sdxls_states_are_upstreams(length, texts, strategies, encoders, at_length):
    from library.strategy_sdxl import SdxlTextEncodingStrategy

    at_length(length)
    ids, (first, second) = texts["sdxl"].tokenize(TEXTS), encoders["sdxl"]
    with torch.no_grad():
        expected = upstreams(SdxlTextEncodingStrategy().encode_tokens)(
            strategies["sdxl"], [first, second, second], ids
        )
        found = texts["sdxl"].encode(ids, [first, second], second.text_projection)
    assert found[0].shape[:2] == (len(TEXTS), (length or 75) + 2)
    assert len(found) == 3 and found[2].shape == (len(TEXTS), second.config.projection_dim)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


@pytest.mark.upstream
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("clip_skip", [None, 1, 2])
def test_sd2s_states_are_upstreams(clip_skip, length, texts, strategies, encoders, standins, at_length):
    from library.strategy_sd import SdTextEncodingStrategy

    at_length(length)
    ids, made = texts["sd2"].tokenize(TEXTS), Text("sd2", str(standins["tokenizers"]), clip_skip, length)
    with torch.no_grad():
        (expected,) = upstreams(SdTextEncodingStrategy(clip_skip).encode_tokens)(
            strategies["sd2"], encoders["sd2"], ids
        )
        (found,) = made.encode(ids, encoders["sd2"], None)
        last = encode_sd2(ids[0], encoders["sd2"][0], None)
    assert torch.equal(found, expected) and found.shape[:2] == (len(TEXTS), (length or 75) + 2)
    if length is None:
        assert torch.equal(found, last) == (clip_skip != 2)


class Plugin:
    """Answers both hooks with what it was asked."""

    @hookimpl
    def tokenize(self, texts, tokenizers):
        return [torch.full((len(texts), 2, 77), len(tokenizers))]

    @hookimpl
    def encode_tokens(self, input_ids, text_encoders, projection, clip_skip):
        return [input_ids, text_encoders, projection, clip_skip]


def test_a_plugins_answer_is_taken(monkeypatch, standins):
    with_plugin = manager.Manager()
    with_plugin.register("answers", Plugin())
    monkeypatch.setattr(manager, "_current", with_plugin)
    made = Text("sd2", str(standins["tokenizers"]), 2)
    assert torch.equal(made.tokenize(["a", "b"])[0], torch.ones(2, 2, 77, dtype=torch.long))
    assert made.encode(["ids"], ["encoder"], "projection") == [["ids"], ["encoder"], "projection", 2]
