"""The tag of a score or a rating: by thresholds, by words, with a probability; other draws stay what they are."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.plugins import dual_tag
from extensions.text import scores
from tests.helpers.dual_tag_cases import ALL_DRAWS, flags

LEVELS = "0.8=score_9, 0.5 = score_7 ,-1=score_1"
FIELD = {"dual_tag_score_field": "score", "dual_tag_score_tags": LEVELS}
TAGS = "mat, red hair, solo"


def compose(seed, fields, tags=TAGS, caption="A cat.", **given) -> str:
    draw, args = random.Random(seed), flags(**given)
    return dual_tag.Plugin().compose_text(caption=caption, tags=tags, fields=fields, draw=draw, args=args)


@pytest.mark.parametrize(
    ("value", "tag"),
    [(0.8, "score_9"), (1e9, "score_9"), (np.nextafter(0.8, 0), "score_7"), (0, "score_1"), (-1.5, ""), (None, "")],
)
def test_a_number_has_the_tag_of_the_highest_that_it_reaches(value, tag):
    assert scores.tag_of(value, LEVELS) == tag
    assert scores.tag_of(value, ",".join(reversed(LEVELS.split(",")))) == tag, "in whatever order they stand"


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9, unique=True), st.floats(-2e6, 2e6))
def test_thresholds_as_numpy_sees_them(levels, value):
    ordered = np.array(sorted(levels))
    place = int(np.searchsorted(ordered, value, side="right")) - 1
    asked = ", ".join(f"{level!r}=t{np.flatnonzero(ordered == level)[0]}" for level in levels)
    assert scores.tag_of(value, asked) == (f"t{place}" if place >= 0 else "")


def test_a_text_is_its_own_tag_or_that_of_its_name():
    assert scores.tag_of("best  quality", None) == "best quality"
    assert scores.tag_of("e", "e=rated e, s=safe") == "rated e" and scores.tag_of("q", "e=rated e, s=safe") == ""


def test_it_stands_in_front_of_the_tags():
    assert compose(0, {"score": 0.6}, **FIELD) == f"A cat., score_7, {TAGS}"
    assert compose(0, {"score": 0.6}, dual_tag_order="tags_first", **FIELD) == f"score_7, {TAGS}, A cat."
    assert compose(0, {}, **FIELD) == f"A cat., {TAGS}"
    assert compose(0, {"score": 0.6}, tags="", **FIELD) == "A cat."
    short = compose(0, {"score": 0.6}, dual_tag_short=1.0, dual_tag_short_tags=1, **FIELD).split(", ")
    assert short[0] == "score_7" and len(short) == 2 and short[1] in TAGS
    assert compose(0, {"score": 0.6}, dual_tag_drop_tags=1.0, **FIELD) == "A cat."
    kept = compose(0, {"score": 0.6}, dual_tag_drop_tags=1.0, dual_tag_protect="score_7", **FIELD)
    assert kept == "A cat., score_7"


def test_its_share_is_a_probability():
    texts = [compose(seed, {"score": 1.0}, dual_tag_score_share=0.3, **FIELD) for seed in range(2_000)]
    assert set(texts) == {f"A cat., score_9, {TAGS}", f"A cat., {TAGS}"}
    assert sum("score_9" in text for text in texts) / len(texts) == pytest.approx(0.3, abs=0.04)


@given(
    st.integers(0, 10**9),
    st.floats(0, 1),
    st.floats(-2, 2),
    st.sampled_from(["concat", "pick", "tags"]),
    st.booleans(),
)
def test_no_other_draw_moves(seed, share, score, policy, short):
    """Without its tag, a text is the one of a run that knows nothing of scores."""
    drawn = ALL_DRAWS | {"dual_tag": policy, "dual_tag_short": 0.5 * short, "dual_tag_protect": "solo"}
    if policy != "concat":
        drawn |= {"dual_tag_drop_caption": 0.0, "dual_tag_drop_tags": 0.0}
    plain = compose(seed, {}, **drawn)
    scored = compose(seed, {"score": score}, dual_tag_score_share=share, **FIELD, **drawn)
    tag = scores.tag_of(score, LEVELS)
    assert plain in (scored, scored.replace(f"{tag}, ", "", 1))
    if share == 1 and tag and any(each in plain for each in TAGS.split(", ")):
        assert scored != plain


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"dual_tag_score_tags": LEVELS}, "--dual_tag_score_tags has no effect without --dual_tag_score_field"),
        ({"dual_tag_score_share": 0.5}, "--dual_tag_score_share has no effect without --dual_tag_score_field"),
        (FIELD | {"dual_tag": "caption"}, "--dual_tag_score_field changes tags"),
        (FIELD | {"dual_tag_score_tags": "0.8=a, e=b"}, "mixes numbers and words"),
        (FIELD | {"dual_tag_score_tags": "0.8=a,"}, "'' is not value=tag"),
        (FIELD | {"dual_tag_score_tags": "0.8"}, "'0.8' is not value=tag"),
        (FIELD | {"dual_tag_score_tags": "0.8=a, 0.8=b"}, "has 0.8 twice"),
    ],
)
def test_what_cannot_be_meant_is_one_line(given, says):
    with pytest.raises(UserError) as caught:
        dual_tag.Plugin().check_arguments(args=flags(**given))
    assert says in str(caught.value) and "\n" not in str(caught.value)
    dual_tag.Plugin().check_arguments(args=flags(**FIELD))
