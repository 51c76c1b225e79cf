"""What is asked is a function of the image: every dropout and shuffle of a run is off."""

import argparse

import pytest

from extensions import manager
from extensions.data.metadata import Sample
from extensions.evaluation import texts
from extensions.plugins import dual_tag

SAMPLE = Sample("a", "one, two, three", "a cat on a mat", 64, 64)


def args_of(**given) -> argparse.Namespace:
    """A run's flags: dual_tag's defaults, and what is given."""
    flags = {flag.name: flag.value_of(None) for flag in dual_tag.Plugin.flags}
    return argparse.Namespace(
        **flags | {"caption_dropout_rate": 0.0, "enable_wildcard": False, "caption_separator": ",", "seed": 1} | given
    )


@pytest.fixture
def dual(monkeypatch):
    monkeypatch.setattr(manager, "_current", manager.Manager(["dual_tag"]))


def test_all_that_draws_is_off(dual):
    noisy = args_of(
        dual_tag="concat", caption_dropout_rate=0.9, dual_tag_drop_caption=0.5, dual_tag_drop_tags=0.5,
        dual_tag_drop_each_tag=0.9, dual_tag_shuffle=True, dual_tag_keep_first=1,
    )  # fmt: skip
    quiet = texts.undrawn(noisy)
    for seed in range(20):
        assert texts.texts_of(SAMPLE, seed, quiet) == {
            "text": "a cat on a mat, one, two, three", "tags": "one, two, three", "caption": "a cat on a mat",
            "empty": "",
        }  # fmt: skip
    assert noisy.caption_dropout_rate == 0.9 and noisy.dual_tag_shuffle


def test_every_flag_of_a_text_that_draws_says_how_it_is_off():
    """A new dropout without it would make two evaluations of the same weights differ."""
    names = {flag.name for flag in dual_tag.Plugin.flags}
    drawing = {name for name in names if "drop" in name or name.endswith(("_shuffle", "_short", "_share"))}
    assert drawing == {flag.name for flag in dual_tag.Plugin.flags if flag.off is not None}


def test_one_of_two_is_drawn_from_the_id_alone(dual):
    quiet = texts.undrawn(args_of(dual_tag="pick"))
    found = [texts.texts_of(Sample(str(number), "tags", "caption", 64, 64), 0, quiet)["text"] for number in range(40)]
    assert set(found) == {"tags", "caption"}
    again = [texts.texts_of(Sample(str(number), "tags", "caption", 64, 64), 0, quiet)["text"] for number in range(40)]
    assert found == again


def test_without_a_plugin_the_text_is_upstreams():
    found = texts.texts_of(SAMPLE, 0, texts.undrawn(args_of()))
    assert found["text"] == "a cat on a mat,one, two, three" and found["caption"] == "a cat on a mat"
