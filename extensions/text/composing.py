"""Composes a sample's text of its caption and its tags, as the flags of the plugin dual_tag say."""

import random
import re
from functools import lru_cache

BRACES = re.compile(r"\{\{|\}\}|\{([^{}|]*(?:\|[^{}|]*)+)\}")


class Draws:
    """Random numbers of one sample, by name: each name is a stream that no other one moves."""

    def __init__(self, draw: random.Random):
        self.seed = draw.getrandbits(128)

    def of(self, name: str) -> random.Random:
        return random.Random(f"{self.seed}:{name}")


def cleaned(text: str, mark: str) -> str:
    """Return the text as one line of single spaces, without separators at its ends.

    mark: the separator, "" for blanks.
    """
    text = " ".join(text.split())
    while mark and text.startswith(mark):
        text = text.removeprefix(mark).lstrip()
    while mark and text.endswith(mark):
        text = text.removesuffix(mark).rstrip()
    return text


def separated(tags: str, mark: str) -> list[str]:
    """Return the tags that are not empty, in order; a new line separates as the mark does."""
    pieces = [piece for line in tags.splitlines() for piece in (line.split(mark) if mark else line.split())]
    return [tag for piece in pieces if (tag := " ".join(piece.split()))]


def one_line_of(caption: str, draws: Draws) -> str:
    """Return a random line of a caption that has several, with every {a|b} replaced by one alternative."""
    lines = [line for line in caption.splitlines() if line.strip()]
    line = draws.of("line").choice(lines) if lines else ""
    draw = draws.of("wildcard")
    return BRACES.sub(lambda found: found[0][0] if found[1] is None else draw.choice(found[1].split("|")), line)


def drawn_tags(tags: list[str], args, draws: Draws) -> list[str]:
    """Return the first tags as they are, the others shuffled and thinned out as the flags say."""
    first, others = tags[: args.dual_tag_keep_first], tags[args.dual_tag_keep_first :]
    places = list(range(len(others)))
    if args.dual_tag_shuffle:
        draws.of("order of tags").shuffle(places)
    if args.dual_tag_drop_each_tag:
        draw = draws.of("each tag")
        luck = [draw.random() for _ in others]  # by the place in the metadata, whatever the order now
        guarded = {place for place in places if protected(others[place], args)}
        stay = [place for place in places if place in guarded or luck[place] >= args.dual_tag_drop_each_tag]
        places = stay if stay or first else sorted(places, key=luck.__getitem__)[-1:]
    return first + [others[place] for place in places]


def protected(tag: str, args) -> bool:
    """Tell whether a tag never goes."""
    pattern = args.dual_tag_protect_regex
    return tag in listed(args.dual_tag_protect) or bool(pattern and pattern.fullmatch(tag))


@lru_cache(maxsize=4)
def listed(text: str | None) -> frozenset[str]:
    """Return the tags of a list with commas between them."""
    return frozenset(separated(text or "", ","))


def short(tags: list[str], args, draws: Draws) -> list[str] | None:
    """Return a few tags, in their order or shuffled, for a sample whose text is drawn to be short; else None."""
    if not tags or draws.of("short").random() >= args.dual_tag_short:
        return None
    draw = draws.of("short tags")
    count = draw.randint(1, args.dual_tag_short_tags)
    order = sorted(range(len(tags)), key=lambda place: (not protected(tags[place], args), draw.random()))
    guarded = sum(protected(tag, args) for tag in tags)
    places = sorted(order[: max(count, guarded)])
    if args.dual_tag_shuffle:
        draws.of("order of tags").shuffle(places)
    return [tags[place] for place in places]


def chosen(caption: str, tags: str, args, draws: Draws, guarded: str = "") -> list[str]:
    """Return the parts to train on, in order. guarded: of the tags, those that stay where all others go."""
    if not caption or not tags:
        return [caption or tags]
    if args.dual_tag == "pick":
        return [draws.of("pick").choice([caption, tags])]
    if args.dual_tag != "concat":
        return [tags if args.dual_tag == "tags" else caption]
    # One number for both: the rates are exact, and no text is lost as a whole.
    number = draws.of("part").random()
    if number < args.dual_tag_drop_caption:
        return [tags]
    if number >= 1 - args.dual_tag_drop_tags:
        if not guarded:
            return [caption]
        tags = guarded
    return [tags, caption] if args.dual_tag_order == "tags_first" else [caption, tags]
