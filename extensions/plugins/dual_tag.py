"""Composes the text that a sample is trained on: natural-language caption, booru tags, or both.

    --dual_tag=concat   caption, then tags ("Dual Tag (concat …)" of the logbook);
                        --dual_tag_order=tags_first: tags, then caption
    --dual_tag=pick     one of the two at random, each time the sample is drawn
    --dual_tag=tags     tags only
    --dual_tag=caption  caption only

A part that is empty or missing never loses the other one: where the policy asks for a part that is
not there, the part that is there is used. At random, besides:

    --dual_tag_drop_caption=P    concat without the caption, in P of the samples that have both parts
    --dual_tag_drop_tags=P       concat without the tags; never both at once, so P and P are at most 1 together
    --dual_tag_drop_each_tag=P   each tag goes with probability P; one of them stays where all would go
    --dual_tag_shuffle           the tags in another order each time; the caption's words stay
    --dual_tag_keep_first=N      neither of the last two touches the first N tags
    --caption_dropout_rate=P     the whole text is empty, as upstream's flag of that name does

Upstream's --shuffle_caption, --keep_tokens and --caption_tag_dropout_rate take a caption's clauses for tags,
too: that is another meaning, so the flags here have other names. With --enable_wildcard, one line of a
multi-line caption and one alternative of each {a|b} are drawn, in the caption only: braces belong to some
booru tags. As upstream does, {{ and }} stand for plain braces there; unlike upstream, braces without a |
stay. Without the flag all lines are used. A new line in the tags separates tags.

Every draw comes from the sample's own seed (run seed, epoch, key) and has a stream of its own: the number of
workers and processes, a resume, and the other draws being on or off change none of it.
"""

import random
import re

from extensions.base.errors import UserError
from extensions.data import DATASET
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl

POLICIES = ("concat", "pick", "tags", "caption")
ORDERS = ("caption_first", "tags_first")
BRACES = re.compile(r"\{\{|\}\}|\{([^{}|]*(?:\|[^{}|]*)+)\}")
OF_CONCAT = ("dual_tag_order", "dual_tag_drop_caption", "dual_tag_drop_tags")
OF_TAGS = ("dual_tag_drop_each_tag", "dual_tag_shuffle", "dual_tag_keep_first")


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
        stay = [place for place in places if luck[place] >= args.dual_tag_drop_each_tag]
        places = stay if stay or first else sorted(places, key=luck.__getitem__)[-1:]
    return first + [others[place] for place in places]


def chosen(caption: str, tags: str, args, draws: Draws) -> list[str]:
    """Return the parts to train on, in order."""
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
        return [caption]
    return [tags, caption] if args.dual_tag_order == "tags_first" else [caption, tags]


def share(name: str, what: str) -> Flag:
    """Return a flag of dual_tag that is a probability."""
    return Flag(f"dual_tag_{name}", values.probability, what, default=0.0, unit="0 to 1", off=0.0)


class Plugin:
    """Composes the text of each sample."""

    claims = ("the text of a sample",)
    reads = ("enable_wildcard", "caption_dropout_rate")
    flags = (
        Flag("dual_tag", str, "which text to train on (see extensions/plugins/dual_tag.py)", choices=POLICIES),
        Flag("dual_tag_order", str, "concat: what is first; default: the caption", choices=ORDERS),
        share("drop_caption", "concat: share of samples that lose their caption and keep their tags"),
        share("drop_tags", "concat: share of samples that lose their tags and keep their caption"),
        share("drop_each_tag", "probability of each tag to be dropped"),
        Flag("dual_tag_shuffle", bool, "shuffle the tags, not the caption", off=False),
        Flag(
            "dual_tag_keep_first",
            values.whole(0),
            "so many first tags are neither shuffled nor dropped",
            default=0,
            unit="tags",
        ),
    )

    @hookimpl
    def check_arguments(self, args):
        if args.dual_tag is None:
            raise UserError(f"dual_tag is listed without --dual_tag; give one of {', '.join(POLICIES)}")
        if args.dataset_class is None:
            raise UserError(
                f"dual_tag needs --dataset_class={DATASET}: "
                "upstream's own dataset joins caption and tags before a plugin sees them"
            )
        if any(letter.isalnum() for letter in args.caption_separator):
            raise UserError(f"--caption_separator={args.caption_separator!r} would cut words apart; give punctuation")
        check_values(args)
        check_policy(args)

    @hookimpl
    def compose_text(self, caption, tags, draw, args):
        draws, mark = Draws(draw), args.caption_separator.strip()
        if args.caption_dropout_rate and draws.of("text").random() < args.caption_dropout_rate:
            return ""
        if args.enable_wildcard:
            caption = one_line_of(caption, draws)
        between = args.caption_separator if args.caption_separator != mark else f"{mark} "
        listed = between.join(drawn_tags(separated(tags, mark), args, draws))
        return between.join(chosen(cleaned(caption, mark), listed, args, draws))


def check_values(args) -> None:
    """Raise UserError for a number that is out of its range."""
    if not 0 <= args.caption_dropout_rate <= 1:
        raise UserError(f"--caption_dropout_rate={args.caption_dropout_rate}: give a probability from 0 to 1")
    if args.dual_tag_drop_caption + args.dual_tag_drop_tags > 1 + 1e-9:
        raise UserError(
            "--dual_tag_drop_caption and --dual_tag_drop_tags are more than 1 together, and no sample loses both; "
            "lower one of them (--caption_dropout_rate is for empty texts)"
        )


def check_policy(args) -> None:
    """Raise UserError for a flag that the policy, or the lack of another flag, would leave without effect."""
    for name in OF_CONCAT:
        if args.dual_tag != "concat" and getattr(args, name):
            raise UserError(f"--{name} has no effect with --dual_tag={args.dual_tag}; drop it or use concat")
    for name in OF_TAGS:
        if args.dual_tag == "caption" and getattr(args, name):
            raise UserError(f"--{name} changes tags and --dual_tag=caption trains on captions; drop one of them")
    if args.dual_tag_keep_first and not (args.dual_tag_shuffle or args.dual_tag_drop_each_tag):
        raise UserError(
            "--dual_tag_keep_first has no effect without --dual_tag_shuffle or --dual_tag_drop_each_tag; drop it"
        )
