"""Tokenizers that forget: bounded in both trainers, and the same ids as one that remembers everything."""

import pickle

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizerFast

from extensions.reference.text import Text
from extensions.text import word_cache
from extensions.text.chunks import ids_of
from extensions.text.word_cache import Words, bounded
from tests.helpers.token_chunks_cases import loaded

LIMIT = 20
NEW = [one + two for one in "abcdefg" for two in "hijklmn"]
MANY = [f"word{new} naïve{new} 猫{new}, <|endoftext|> of no{new}<|startoftext|>" for new in NEW]


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(word_cache, "WORDS", LIMIT)


@pytest.fixture(scope="module")
def plain(standins):
    """{family: tokenizers that remember everything}."""
    return loaded(standins)


def require_the_same(forgetful, plain, texts):
    """The ids of texts, padded to a chunk and as plugins ask for them, and at most LIMIT words afterwards."""
    options = {"padding": "max_length", "truncation": True, "max_length": 77}
    for text in texts:
        assert forgetful(text, **options).input_ids == plain(text, **options).input_ids
        assert ids_of(text, forgetful) == ids_of(text, plain)
        assert len(forgetful.cache) <= LIMIT


def test_the_reference_trainers_forget_and_give_the_same_ids(small, standins, plain):
    for family, tokenizers in plain.items():
        made = Text(family, str(standins["tokenizers"]), None)
        for forgetful, remembering in zip(made.tokenizers, tokenizers, strict=True):
            require_the_same(forgetful, remembering, MANY)
            assert len(remembering.cache) > LIMIT


@pytest.mark.upstream
def test_sd_scripts_forget_and_give_the_same_ids(small, standins, plain, patched):
    from library import strategy_sd, strategy_sdxl

    from extensions.upstream import seams

    seams.install()
    sdxl = strategy_sdxl.SdxlTokenizeStrategy(None, str(standins["tokenizers"]))
    sd2 = strategy_sd.SdTokenizeStrategy(True, None, str(standins["tokenizers"]))
    for forgetful, remembering in [
        (sdxl.tokenizer1, plain["sdxl"][0]), (sdxl.tokenizer2, plain["sdxl"][1]), (sd2.tokenizer, plain["sd2"][0]),
    ]:  # fmt: skip
        require_the_same(forgetful, remembering, MANY)


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(max_size=200), max_size=4))
def test_the_same_ids_whatever_the_text(small, standins, plain, texts):
    require_the_same(Text("sd2", str(standins["tokenizers"]), None).tokenizers[0], plain["sd2"][0], texts)


def test_a_full_memory_begins_again(small):
    words = Words({"first": "1"})
    for number in range(LIMIT + 4):
        words[str(number)] = "x"
    assert words == {str(number): "x" for number in range(LIMIT - 1, LIMIT + 4)}


def test_a_spawned_worker_gets_the_same(small):
    words = Words({"word": "2"})
    again = pickle.loads(pickle.dumps(words))
    assert type(again) is Words and again == words


def test_a_fast_tokenizer_and_a_bounded_one_stay_as_they_are(standins):
    fast = CLIPTokenizerFast.from_pretrained(standins["tokenizers"] / "openai_clip-vit-large-patch14")
    assert bounded(fast) is fast and not hasattr(fast, "cache")
    once = bounded(loaded(standins)["sd2"][0])
    words = once.cache
    assert bounded(once).cache is words
