"""Caption and tags: neither is ever lost, every draw is the sample's own, every flag does what it says."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.plugins import dual_tag
from tests.helpers.dual_tag_cases import compose

ANY = st.text(max_size=60) | st.text(alphabet="ab ,{}|\n\u2028(é猫", max_size=40)
WORDS = st.text(alphabet="abcé猫_():;^\"'/-{}|", min_size=1, max_size=8)
TAGS = st.lists(WORDS, min_size=1, max_size=30)
MANY = 4000


def many(caption, tags, **flags):
    return [compose(caption, tags, seed, **flags) for seed in range(MANY)]


def share(texts, wanted) -> float:
    return sum(wanted(text) for text in texts) / len(texts)


def about(rate):
    """Five standard deviations of a share of MANY draws."""
    return pytest.approx(rate, abs=5 * (rate * (1 - rate) / MANY) ** 0.5)


def test_concat_in_both_orders():
    assert compose("A cat on a mat.", "1cat, mat") == "A cat on a mat., 1cat, mat"
    assert compose("A cat on a mat.", "1cat, mat", dual_tag_order="caption_first") == "A cat on a mat., 1cat, mat"
    assert compose("A cat on a mat.", "1cat, mat", dual_tag_order="tags_first") == "1cat, mat, A cat on a mat."


@pytest.mark.parametrize("empty", ["", " \n", ",", " ,,\n, "])
@pytest.mark.parametrize("wildcard", [False, True])
@pytest.mark.parametrize("policy", dual_tag.POLICIES)
def test_the_other_part_is_never_lost(policy, wildcard, empty):
    for seed in range(8):
        flags = {"seed": seed, "dual_tag": policy, "enable_wildcard": wildcard}
        assert compose(empty, "1cat, mat", **flags) == "1cat, mat"
        assert compose("A cat.", empty, **flags) == "A cat."
        drops = {"dual_tag_drop_caption": 0.5, "dual_tag_drop_tags": 0.5} if policy == "concat" else {}
        assert compose(empty, "1cat, mat", **flags | drops) == "1cat, mat"
        assert compose("A cat.", empty, **flags | drops) == "A cat."
    assert compose("{|}", "1cat", dual_tag=policy, enable_wildcard=True) == "1cat"
    assert compose(empty, empty, dual_tag=policy) == ""


def test_policies():
    assert compose("c", "t", dual_tag="tags") == "t"
    assert compose("c", "t", dual_tag="caption") == "c"
    texts = many("c", "t", dual_tag="pick")
    assert set(texts) == {"c", "t"} and share(texts, lambda text: text == "c") == about(0.5)


def test_wildcards_are_the_captions_only():
    texts = {compose("a {red|blue} cat\na dog", "x_{y|z}", s, enable_wildcard=True) for s in range(60)}
    assert texts == {"a red cat, x_{y|z}", "a blue cat, x_{y|z}", "a dog, x_{y|z}"}


@pytest.mark.parametrize(
    ("caption", "wanted"),
    [
        ("a {{red|blue}} cat", {"a {red|blue} cat"}),
        ("a {red} cat", {"a {red} cat"}),
        ("{a|b} {{c}} {d|}", {"a {c} d", "b {c} d", "a {c}", "b {c}"}),
        ("an open { brace, a } closed | one", {"an open { brace, a } closed | one"}),
    ],
)
def test_braces(caption, wanted):
    assert {compose(caption, "", seed, enable_wildcard=True) for seed in range(60)} == wanted
    assert compose(caption, "") == caption


def test_without_wildcards_every_line_of_a_caption_is_used():
    assert compose("a cat\r\non a mat\u2028asleep", "1cat") == "a cat on a mat asleep, 1cat"


def test_a_new_line_separates_tags():
    assert compose("", "1cat\nmat,\n\nlooking at viewer,, :3") == "1cat, mat, looking at viewer, :3"


@pytest.mark.parametrize(
    ("separator", "text"), [(",", "c, a, b"), (" | ", "c | a | b"), (", ", "c, a, b"), ("", "c a b"), (" ", "c a b")]
)
def test_separators(separator, text):
    tags = separator.join(["a", "b"]) if separator else "a b"
    assert compose("c", tags, caption_separator=separator) == text
    shuffled = {compose("", tags, s, dual_tag_shuffle=True, caption_separator=separator) for s in range(20)}
    between = text[1 : text.index("a")]
    assert shuffled == {f"a{between}b", f"b{between}a"}


@given(ANY, ANY, st.sampled_from(dual_tag.POLICIES), st.booleans(), st.booleans())
def test_any_text_is_one_line_and_repeatable(caption, tags, policy, wildcard, shuffle):
    flags = {"dual_tag": policy, "enable_wildcard": wildcard, "dual_tag_shuffle": shuffle and policy != "caption"}
    text = compose(caption, tags, **flags)
    assert len(text.splitlines()) <= 1
    assert text == compose(caption, tags, **flags)
    if not wildcard and policy == "concat":
        # Nothing but blanks and separators is lost or made up.
        assert sorted(text.replace(",", " ").split()) == sorted(f"{caption} {tags}".replace(",", " ").split())


@given(TAGS, st.integers(0, 5), st.integers(0, 5))
def test_shuffle_is_of_the_tags_after_the_first(tags, keep, seed):
    text = compose("a, b, and c", ", ".join(tags), seed, dual_tag_shuffle=True, dual_tag_keep_first=keep)
    assert text.startswith("a, b, and c, ")
    found = text.removeprefix("a, b, and c, ").split(", ")
    assert found[:keep] == tags[:keep] and sorted(found) == sorted(tags)


def test_shuffle_reaches_every_order():
    texts = many("", "a, b, c", dual_tag_shuffle=True)
    assert len(set(texts)) == 6
    assert all(share(texts, lambda text, one=one: text == one) == about(1 / 6) for one in set(texts))


def test_each_tag_is_dropped_with_its_probability():
    texts = many("a, b", "t, u, v, w", dual_tag_drop_each_tag=0.3, dual_tag_keep_first=1)
    assert all(text.startswith("a, b, t") for text in texts)
    for tag in "uvw":
        assert share(texts, lambda text, tag=tag: tag not in text) == about(0.3)
    # Independent of each other: two go together as often as the product says.
    assert share(texts, lambda text: "u" not in text and "v" not in text) == about(0.09)


def test_one_tag_stays_where_all_would_go():
    texts = many("", "t, u, v", dual_tag_drop_each_tag=1)
    assert set(texts) == {"t", "u", "v"}
    assert set(many("", "t, u, v", dual_tag_drop_each_tag=1, dual_tag_keep_first=1)) == {"t"}


def test_parts_are_dropped_with_their_probabilities_and_never_both():
    texts = many("c", "t", dual_tag_drop_caption=0.3, dual_tag_drop_tags=0.2)
    assert set(texts) == {"c, t", "c", "t"}
    assert share(texts, lambda text: text == "t") == about(0.3)
    assert share(texts, lambda text: text == "c") == about(0.2)


def test_the_whole_text_is_dropped_as_upstream_drops_it():
    texts = many("c", "t", caption_dropout_rate=0.1)
    assert set(texts) == {"", "c, t"} and share(texts, lambda text: text == "") == about(0.1)
    assert many("c", "", caption_dropout_rate=1) == [""] * MANY


@given(st.integers(0, 500))
def test_a_draw_does_not_depend_on_the_others_being_on(seed):
    tags = "t, u, v, w, x, y"
    shuffled = compose("", tags, seed, dual_tag_shuffle=True).split(", ")
    thinned = compose("", tags, seed, dual_tag_drop_each_tag=0.4).split(", ")
    both = compose("", tags, seed, dual_tag_shuffle=True, dual_tag_drop_each_tag=0.4).split(", ")
    assert both == [tag for tag in shuffled if tag in thinned]
    flags = {"dual_tag_drop_caption": 0.3, "dual_tag_drop_tags": 0.3}
    parts = compose("c", tags, seed, **flags)
    with_all = compose("c", tags, seed, **flags, dual_tag_shuffle=True, dual_tag_order="tags_first")
    assert ("c" in parts, "t" in parts) == ("c" in with_all, "t" in with_all)
    no_caption = compose("c", tags, seed, dual_tag_drop_caption=0.3)
    assert ("c" in no_caption) == ("c" in parts)
    picked = compose("c", "t", seed, dual_tag="pick")
    assert picked == compose("c", "t", seed, dual_tag="pick", dual_tag_shuffle=True, enable_wildcard=True)
    dropped = compose("c", "t", seed, caption_dropout_rate=0.5) == ""
    assert dropped == (compose("c", "t", seed, caption_dropout_rate=0.5, dual_tag="pick") == "")


GUARD = {"dual_tag_protect": "1girl, solo", "dual_tag_protect_regex": re.compile(r"by .*")}
LIST = "mat, 1girl, by someone, red hair, solo_focus, solo"
NEVER_GO = ["1girl", "by someone", "solo"]


def tags_of(text: str) -> list[str]:
    return text.split(", ")


@pytest.mark.parametrize(
    "flags",
    [
        {"dual_tag_drop_each_tag": 0.9},
        {"dual_tag_drop_each_tag": 0.9, "dual_tag_shuffle": True},
        {"dual_tag_short": 1.0, "dual_tag_short_tags": 1},
    ],
)
def test_protected_tags_never_go(flags):
    texts = many("", LIST, **GUARD | flags)
    assert all(set(NEVER_GO) <= set(tags_of(text)) for text in texts)
    if "dual_tag_drop_each_tag" in flags:
        assert share(texts, lambda text: "red hair" in text) == about(0.1)


def test_protected_tags_stay_where_all_tags_go():
    texts = many("A cat.", LIST, dual_tag_drop_tags=0.5, **GUARD)
    assert set(texts) == {f"A cat., {LIST}", "A cat., 1girl, by someone, solo"}
    assert share(texts, lambda text: "mat" not in text) == about(0.5)


def test_short_texts_are_a_few_tags_without_the_caption():
    texts = many("A cat.", LIST, dual_tag_short=0.3, dual_tag_short_tags=3)
    few = [text for text in texts if "A cat." not in text]
    assert len(few) / MANY == about(0.3) and set(texts) - set(few) == {f"A cat., {LIST}"}
    counts = [len(tags_of(text)) for text in few]
    assert {1, 2, 3} == set(counts) and all(
        counts.count(n) / len(few) == pytest.approx(1 / 3, abs=0.08) for n in (1, 2, 3)
    )
    assert {tag for text in few for tag in tags_of(text)} == set(tags_of(LIST))
    order = tags_of(LIST)
    assert all([order.index(tag) for tag in tags_of(text)] == sorted(map(order.index, tags_of(text))) for text in few)
    assert set(many("A cat.", "", dual_tag_short=1.0)) == {"A cat."}


def test_the_new_draws_move_no_other():
    drawn = dict(
        dual_tag_shuffle=True, dual_tag_drop_each_tag=0.3, dual_tag_drop_caption=0.3, caption_dropout_rate=0.2
    )
    before = many("A cat.", LIST, **drawn)
    zero = many("A cat.", LIST, **drawn, dual_tag_drop_to_zero=0.5)
    assert [text.strip() for text in zero] == before
    assert sum(text == " " for text in zero) / before.count("") == pytest.approx(0.5, abs=0.1)
    some = many("A cat.", LIST, **drawn, dual_tag_short=0.5)
    assert {one == other for one, other in zip(before, some, strict=True)} == {True, False}
    assert [one for one, other in zip(before, some, strict=True) if one == ""] == [
        other for one, other in zip(before, some, strict=True) if one == ""
    ]
