"""Oracle: open_clip's own tokenizer."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.text.tokenizers import PAD_TOKENS, ensure_tokenizers

FIRST = "openai_clip-vit-large-patch14"
WORDS = st.text("abcXYZ0189 ,.:'()[]{}_-#|üßé猫🐈\t\n", max_size=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizers")
    ensure_tokenizers(path)
    return path


@pytest.fixture(scope="module")
def tokenizers(folder):
    from transformers import CLIPTokenizer

    return {name: CLIPTokenizer.from_pretrained(folder / name) for name in PAD_TOKENS}


@pytest.fixture(scope="module")
def oracle():
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer().encode


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=WORDS)
def test_ids_equal_open_clips(tokenizers, oracle, text):
    for tokenizer in tokenizers.values():
        assert tokenizer(text).input_ids == [49406, *oracle(text), 49407]


@pytest.mark.parametrize("text", ["1girl, long_hair", "don't! (x:1.2)", "naïve café 頤和園", "a  b\n!!"])
def test_first_tokenizer_knows_exclamation_marks(tokenizers, oracle, text):
    assert tokenizers[FIRST](text).input_ids[1:-1] == oracle(text)


@pytest.mark.parametrize("name, pad", [(name, 0 if "stable-diffusion-2" in name else 49407) for name in PAD_TOKENS])
def test_special_tokens_and_length(tokenizers, name, pad):
    tokenizer = tokenizers[name]
    found = (tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert found == (pad, 49406, 49407)
    assert (len(tokenizer), tokenizer.model_max_length) == (49408, 77)


def test_present_ones_are_left_alone(folder):
    vocabulary = folder / FIRST / "vocab.json"
    before = vocabulary.stat().st_mtime_ns
    ensure_tokenizers(folder)
    assert vocabulary.stat().st_mtime_ns == before
    assert sorted(p.name for p in folder.iterdir()) == sorted(PAD_TOKENS)
