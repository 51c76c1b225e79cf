"""No text makes a special token, in any tokenizer, wherever it stands. Oracle: open_clip's ids of the pieces."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import CLIPTokenizer, CLIPTokenizerFast

from extensions.reference.text import Text
from extensions.text.chunks import ids_of
from extensions.text.literal import SIGN, literal
from tests.helpers.token_chunks_cases import BOS, EOS, PADS, TOKENIZERS, open_clips, row

MARKS = ["<|endoftext|>", "<|startoftext|>", "<|EndOfText|>"]
# What becomes a mark once a tokenizer has cleaned the text: wide signs, HTML, signs that are not seen.
HIDDEN = ["＜|endoftext|＞", "<｜endoftext｜>", "&lt;|endoftext|&gt;", "<|endof\u200btext|>", "<|endof\x00text|>"]
AROUND = ["{}", "cat {}", "{} dog", "cat{}dog", "cat, {}, dog", "{0}{0}", "({})", "{} BREAK {}", "1girl\n{}!", "猫{}"]
NAMES = [name for names in TOKENIZERS.values() for name in names]


@pytest.fixture(scope="module")
def tokenizers(standins):
    """As both trainers have them."""
    return [each for family in TOKENIZERS for each in Text(family, str(standins["tokenizers"]), None).tokenizers]


def framed(ids):
    """The ids of a text as a trainer's own cut makes them, without the frame."""
    assert ids[0] == BOS and ids[-1] == EOS
    return ids[1:-1]


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("mark", MARKS + HIDDEN)
def test_no_mark_is_read(mark, around, tokenizers):
    text = around.format(mark, mark)
    for tokenizer in tokenizers:
        for ids in (ids_of(text, tokenizer), framed(tokenizer(text).input_ids)):
            assert ids and not {BOS, EOS} & set(ids)


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_is_its_words(name, standins):
    tokenizer, encode = CLIPTokenizer.from_pretrained(standins["tokenizers"] / name), open_clips()
    wanted = [*encode("cat <|"), *encode("endoftext"), *encode("|>, dog")]
    assert ids_of("cat <|endoftext|>, dog", tokenizer) == wanted
    assert framed(tokenizer("cat <|endoftext|>, dog").input_ids) == wanted


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    pieces=st.lists(st.one_of(st.sampled_from(MARKS + HIDDEN + ["<|", "|>", "&lt;", "BREAK"]), st.text(max_size=8))),
    between=st.sampled_from(["", " ", ", "]),
)
def test_no_text_makes_a_special_token(pieces, between, tokenizers):
    text = between.join(pieces).encode("utf-8", "ignore").decode()
    for tokenizer in tokenizers:
        assert not {BOS, EOS} & set(ids_of(text, tokenizer))
        assert not {BOS, EOS} & set(framed(tokenizer(text).input_ids))


@pytest.mark.parametrize("name", NAMES)
def test_the_frame_and_other_texts_stay(name, standins):
    """SD2's "!" is padding to sd-scripts' own cut and a sign to ours, as before."""
    plain = CLIPTokenizer.from_pretrained(standins["tokenizers"] / name)
    made = literal(literal(CLIPTokenizer.from_pretrained(standins["tokenizers"] / name)))
    options = {"padding": "max_length", "truncation": True, "max_length": 77}
    for text in ["", "a cat!", f"{SIGN} wow{SIGN}{SIGN}", "naïve 猫 |> <|", "dog, " * 100]:
        assert made(text, **options).input_ids == plain(text, **options).input_ids
    assert (made.bos_token_id, made.eos_token_id, made.pad_token_id) == (BOS, EOS, plain.pad_token_id)
    assert len(made) == len(plain)


def test_a_fast_tokenizer_reads_no_marks_either(standins):
    fast = literal(CLIPTokenizerFast.from_pretrained(standins["tokenizers"] / NAMES[0]))
    for mark in MARKS:
        assert not {BOS, EOS} & set(framed(fast(f"cat {mark} dog").input_ids))


def test_special_tokens_of_somebody_elses_tokenizer(standins):
    """More of them than CLIP has, some beyond its vocabulary."""
    for mark in ("<sep>", "[MASK]"):
        made = CLIPTokenizer.from_pretrained(standins["tokenizers"] / NAMES[0])
        made.add_special_tokens({"additional_special_tokens": ["<sep>", "[MASK]"]})
        number = made.convert_tokens_to_ids(mark)
        assert number in made(f"cat {mark}").input_ids and number not in literal(made)(f"cat {mark}").input_ids
        assert made.convert_tokens_to_ids(mark) == number


@pytest.mark.upstream
def test_sd_scripts_own_cut_reads_no_marks(standins, patched):
    from library import strategy_sd, strategy_sdxl

    from extensions.upstream import seams

    seams.install()
    encode = open_clips()
    words = [*encode("cat <|"), *encode("endoftext"), *encode("|> dog")]
    folder = str(standins["tokenizers"])
    sdxl = strategy_sdxl.SdxlTokenizeStrategy(None, folder)
    sd2 = strategy_sd.SdTokenizeStrategy(True, None, folder)
    for strategy, family in ((sdxl, "sdxl"), (sd2, "sd2")):
        for ids, pad in zip(strategy.tokenize("cat <|endoftext|> dog"), PADS[family], strict=True):
            assert ids.flatten().tolist() == row(words, pad)
