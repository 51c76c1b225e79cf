"""Dropped texts become zeros where they are marked, and nothing else of a batch does."""

import pytest
import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.reference.text import Text
from extensions.text import dropped
from tests.helpers.dual_tag_cases import flags


def test_marks_are_the_rows_of_blank_texts():
    ids = [torch.full((3, 2, 77), 5), torch.full((3, 2, 77), 6)]
    made = dropped.marked(ids, ["a", dropped.ZERO, ""])
    assert [each.flatten(1).any(1).tolist() for each in made] == [[True, False, True]] * 2
    assert all(each.all() for each in ids)  # what came in stays
    assert all(one is other for one, other in zip(dropped.marked(ids, ["a", "", "b"]), ids, strict=True))


def test_states_of_marked_rows_are_zeros_and_others_keep_their_bits():
    ids = torch.tensor([[[90, 91]], [[0, 0]], [[90, 5]]])
    states = [torch.randn(3, 4, 8), torch.randn(3, 4, 6).bfloat16(), torch.randn(3, 5)]
    made = dropped.zeroed(states, ids)
    for one, other in zip(states, made, strict=True):
        assert torch.equal(one[[0, 2]], other[[0, 2]]) and not other[1].any() and one.dtype == other.dtype


@pytest.fixture
def two(standins):
    """SDXL's tokenizers."""
    return Text("sdxl", str(standins["tokenizers"]), None).tokenizers


@pytest.fixture
def plugins():
    return manager.install(["dual_tag", "token_chunks"])


def check(plugins, **given):
    args = flags(token_chunks="a1111", max_token_chunks=0, max_token_length=None, **given)
    plugins.hook.check_arguments(args=args)
    return args


def test_the_hooks_of_a_run_make_zeros_of_blank_texts_alone(plugins, two, monkeypatch):
    from extensions.text import encoding

    def encode(ids, encoders, projection, eos):
        states = torch.stack([each.float() for each in ids[0].flatten(1)])
        return [states[:, :, None], states[:, :, None], states[:, :5]]

    monkeypatch.setattr(encoding, "encode_sdxl", encode)
    check(plugins, caption_dropout_rate=0.5, dual_tag_drop_to_zero=0.5)
    ids = plugins.hook.tokenize(texts=["a cat", " ", ""], tokenizers=two)
    assert not ids[0][1].any() and not ids[1][1].any() and ids[0][2].any()
    words = {"tokenizers": two, "text_encoders": [None, None], "projection": object(), "clip_skip": None}
    states = plugins.hook.encode_tokens(input_ids=ids, **words)
    assert [each.flatten(1).any(1).tolist() for each in states] == [[True, False, True]] * 3


def test_without_the_flag_nothing_is_touched(plugins, two):
    check(plugins, caption_dropout_rate=0.5)
    one, other = (plugins.hook.tokenize(texts=[text], tokenizers=two) for text in ("", " "))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True)) and one[0].any()


@pytest.mark.parametrize(
    ("listed", "given", "line"),
    [
        (["dual_tag", "token_chunks"], {}, "has no effect without --caption_dropout_rate"),
        (["dual_tag"], {"caption_dropout_rate": 0.1}, "needs the plugin token_chunks"),
        (["dual_tag", "token_chunks"], {"caption_dropout_rate": 0.1, "token_chunks": "upstream"}, "needs the plugin"),
    ],
)
def test_zeros_that_nobody_would_make(listed, given, line):
    plugin = manager.install(listed).plugins["dual_tag"]
    args = flags(**{"token_chunks": "a1111"} | given | {"dual_tag_drop_to_zero": 0.5})
    with pytest.raises(UserError, match=line):
        plugin.check_arguments(args=args)


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"dual_tag_protect": "a"}, "--dual_tag_protect has no effect where no tag goes"),
        ({"dual_tag_short_tags": 3}, "has no effect without --dual_tag_short"),
        ({"dual_tag_short": 0.1, "dual_tag": "caption"}, "--dual_tag_short changes tags"),
    ],
)
def test_flags_of_texts_without_effect(plugins, given, line):
    with pytest.raises(UserError, match=line):
        plugins.plugins["dual_tag"].check_arguments(args=flags(**given))
