"""What is escaped is shown as it is, and nothing else, by a reader of Markdown that is not ours (markdown-it)."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from extensions.base.errors import printable
from extensions.handing_on.markdown import Markdown, code, environment, escaped

READER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
SIGNS = st.text(st.sampled_from("\\`*_{}[]()<>#+-.!|~^$&;:=@ \n\tab1\u202e\x1b\ud800"), max_size=12)
HOSTILE = [
    "---", "- a", "1. a", "1)", "# a", "#", "> a", "a | b", "`a`", "``", "**a**", "_a_", "a_b_c", "![x](y)", "[x](y)",
    "<script>alert(1)</script>", "&amp;", "~~a~~", "====", "+ a", "    a", "\ta", "a\n# b", "---\nlicense: mit\n---",
    "www.x.org", "https://x.org", ":cat:", "a@b.org", "$x$", "a\\", "\\", "{{7*7}}", "{% raw %}", "-", "12.", "=",
    "<!-- a", "]]>", "a  ", "|", "\\|", "[^1]", "<a@b.org>",
]  # fmt: skip


def shown(text: str) -> str:
    """What a person would see of a text as code, which keeps blanks."""
    return " ".join(printable(text).split())


def read(markdown: str) -> str:
    """The text of all paragraphs and cells that a reader makes of it."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", "", READER.render(markdown))).split())


PLACES = {
    "paragraph": "{}\n",
    "item": "- {}\n",
    "heading": "# Run {}\n",
    "note": "> **Note:** {}\n",
    "cell": "| a | b |\n|---|---|\n| {} | end |\n",
    "picture": "![{}](x.svg)\n",
}
TOKENS = {
    "paragraph": {"p": 1}, "item": {"li": 1, "ul": 1}, "heading": {"h1": 1}, "note": {"p": 1, "blockquote": 1},
    "cell": {"table": 1, "tr": 2, "td": 2, "th": 2}, "picture": {"p": 1},
}  # fmt: skip


def structure(markdown: str) -> dict[str, int]:
    """How often each element stands in what a reader makes of it."""
    found: dict[str, int] = {}
    for tag in re.findall(r"<(\w+)", READER.render(markdown)):
        found[tag] = found.get(tag, 0) + 1
    return {tag: count for tag, count in found.items() if tag not in {"thead", "tbody", "strong", "img"}}


def holds(text: str, place: str) -> None:
    markdown = PLACES[place].format(escaped(text))
    assert structure(markdown) == (TOKENS[place] if shown(text) or place != "paragraph" else {}), markdown
    if place in {"paragraph", "item"}:
        assert read(markdown) == shown(text)
    elif place == "cell":
        assert read(markdown) == f"a b {shown(text)} end".replace("  ", " ")
    elif place == "heading":
        assert read(markdown) == f"Run {shown(text)}".strip()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_texts_are_texts(text, place):
    holds(text, place)


@pytest.mark.parametrize("place", PLACES)
@given(text=SIGNS)
def test_any_text_is_a_text(place, text):
    holds(text, place)


@given(text=SIGNS)
def test_code_is_code_in_a_cell_too(text):
    markdown = f"| a | b |\n|---|---|\n| {code(text)} | end |\n"
    assert structure(markdown) == {"table": 1, "tr": 2, "td": 2, "th": 2, "code": 1}
    assert read(markdown) == f"a b {shown(text)} end".replace("  ", " ")


@pytest.mark.parametrize("text", ["a plain word", "1.5e-06", "-0.085", "unet_percent,dual_tag", "70%", "a.b: c (d)"])
def test_plain_texts_stay_readable_in_the_file(text):
    assert escaped(text) == text


def test_braces_of_a_template_escape_and_its_own_words_do_not():
    made = environment().from_string("**a** {{ one }} {{ two }}{{ three | code }}")
    assert made.render(one="**b**", two=Markdown("*c*"), three="`") == r"**a** \*\*b\*\* *c*<code>\`</code>"
