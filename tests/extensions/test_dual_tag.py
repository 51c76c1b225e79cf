"""Caption and tags: neither is ever lost, whatever is in them."""

import argparse
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions import dual_tag
from extensions.errors import UserError

TEXTS = st.text(alphabet="ab ,{}|\n(é", max_size=40)


def compose(caption, tags, policy="concat", wildcard=False, seed=0):
    args = argparse.Namespace(dual_tag=policy, enable_wildcard=wildcard, caption_separator=",")
    return dual_tag.Plugin().compose_text(caption=caption, tags=tags, draw=random.Random(seed), args=args)


def test_concat():
    assert compose("A cat on a mat.", "1cat, mat") == "A cat on a mat., 1cat, mat"


@pytest.mark.parametrize("wildcard", [False, True])
@pytest.mark.parametrize("policy", dual_tag.POLICIES)
def test_the_other_part_is_never_lost(policy, wildcard):
    assert compose("", "1cat, mat", policy, wildcard) == "1cat, mat"
    assert compose("A cat.", "", policy, wildcard) == "A cat."
    assert compose(" \n", "1cat", policy, wildcard) == "1cat"


def test_policies():
    assert compose("c", "t", "tags") == "t"
    assert compose("c", "t", "caption") == "c"
    assert {compose("c", "t", "pick", seed=seed) for seed in range(20)} == {"c", "t"}


def test_wildcards_are_the_captions_only():
    texts = {compose("a {red|blue} cat\na dog", "x_{y|z}", wildcard=True, seed=s) for s in range(60)}
    assert texts == {"a red cat, x_{y|z}", "a blue cat, x_{y|z}", "a dog, x_{y|z}"}


@given(TEXTS, TEXTS, st.sampled_from(dual_tag.POLICIES), st.booleans())
def test_any_text_is_one_line_and_repeatable(caption, tags, policy, wildcard):
    text = compose(caption, tags, policy, wildcard)
    assert "\n" not in text
    assert text == compose(caption, tags, policy, wildcard)


def test_refusals():
    with pytest.raises(UserError, match="--dual_tag"):
        dual_tag.Plugin().check_arguments(args=argparse.Namespace(dual_tag=None, dataset_class="x"))
    with pytest.raises(UserError, match="dataset_class"):
        dual_tag.Plugin().check_arguments(args=argparse.Namespace(dual_tag="tags", dataset_class=None))
