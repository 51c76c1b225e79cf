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
    --dual_tag_protect="a, b"    these tags never go: not alone, not with all tags, not from a short text
    --dual_tag_protect_regex=R   nor do tags that match R as a whole
    --dual_tag_score_field=F     in front of the tags a tag made of the field F of the metadata: its text, or by
    --dual_tag_score_tags=…      "0.8=score_9, 0.5=score_7": of a number the tag of the highest that it reaches;
                                 of texts "e=explicit, s=safe"; of other values none
    --dual_tag_score_share=P     in P of the samples (all); it goes and stays with the tags as a whole, and is neither
                                 shuffled nor dropped by itself; without tags it is not there
    --dual_tag_short=P           in P of the samples that have tags, the text is a few of them and no caption
    --dual_tag_short_tags=N      at most so many, from one up; the protected ones first
    --caption_dropout_rate=P     the whole text is empty, as upstream's flag of that name does
    --dual_tag_drop_to_zero=P    in P of these, the U-Net is given zeros instead of the empty text's states

Upstream's --shuffle_caption, --keep_tokens and --caption_tag_dropout_rate take a caption's clauses for tags,
too: that is another meaning, so the flags here have other names. With --enable_wildcard, one line of a
multi-line caption and one alternative of each {a|b} are drawn, in the caption only: braces belong to some
booru tags. As upstream does, {{ and }} stand for plain braces there; unlike upstream, braces without a |
stay. Without the flag all lines are used. A new line in the tags separates tags.

Every draw comes from the sample's own seed (run seed, epoch, key) and has a stream of its own: the number of
workers and processes, a resume, and the other draws being on or off change none of it.
"""

from extensions import manager
from extensions.base.errors import UserError
from extensions.data import DATASET
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.text import dropped, scores
from extensions.text.composing import Draws, chosen, cleaned, drawn_tags, one_line_of, protected, separated, short

POLICIES = ("concat", "pick", "tags", "caption")
ORDERS = ("caption_first", "tags_first")
OF_CONCAT = ("dual_tag_order", "dual_tag_drop_caption", "dual_tag_drop_tags")
OF_TAGS = (
    "dual_tag_drop_each_tag", "dual_tag_shuffle", "dual_tag_keep_first", "dual_tag_short", "dual_tag_score_field",
)  # fmt: skip
PROTECTED_FROM = ("dual_tag_drop_each_tag", "dual_tag_drop_tags", "dual_tag_short")
SHORT_TAGS = 4
ENCODES = "how a text becomes hidden states"  # what the plugin claims whose states can be made zeros


def share(name: str, what: str, default: float = 0.0, **more) -> Flag:
    """Return a flag of dual_tag that is a probability; its default draws nothing."""
    return Flag(f"dual_tag_{name}", values.probability, what, default=default, unit="0 to 1", off=default, **more)


class Plugin:
    """Composes the text of each sample."""

    zeros = False  # whether some dropped texts become zeros
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
        Flag("dual_tag_protect", str, "tags that never go, with commas between them"),
        Flag("dual_tag_protect_regex", values.regex, "regex: tags that match it as a whole never go"),
        Flag(
            "dual_tag_score_field",
            str,
            "field of the metadata of which a tag is made, in front of the tags",
            of_data=True,
        ),
        Flag(
            "dual_tag_score_tags",
            str,
            'which: "0.8=score_9, 0.5=score_7", or "e=explicit"; default: its texts',
            of_data=True,
        ),
        share("score_share", "share of samples with tags that have it", 1.0, of_data=True),
        share("short", "share of samples with tags whose text is a few of them, without the caption"),
        Flag("dual_tag_short_tags", values.whole(1), "in a short text, at most", default=SHORT_TAGS, unit="tags"),
        share("drop_to_zero", "share of the texts dropped by --caption_dropout_rate that become zeros, not null"),
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
        check_zeros(args)
        check_scores(args)
        self.zeros = bool(args.dual_tag_drop_to_zero)

    @hookimpl
    def metadata_fields(self, args):
        return {args.dual_tag_score_field: scores.without_numbers(args)} if args.dual_tag_score_field else {}

    @hookimpl
    def compose_text(self, caption, tags, fields, draw, args):
        draws, mark = Draws(draw), args.caption_separator.strip()
        if args.caption_dropout_rate and draws.of("text").random() < args.caption_dropout_rate:
            zero = args.dual_tag_drop_to_zero and draws.of("zero").random() < args.dual_tag_drop_to_zero
            return dropped.ZERO if zero else ""
        if args.enable_wildcard:
            caption = one_line_of(caption, draws)
        between = args.caption_separator if args.caption_separator != mark else f"{mark} "
        every = separated(tags, mark)
        front = scores.drawn(fields, args, draws) if every and args.dual_tag_score_field else []
        if args.dual_tag_short and (few := short(every, args, draws)):
            return between.join(front + few)
        stay = [tag for tag in every if protected(tag, args)] if args.dual_tag_drop_tags else []
        guarded = between.join(front + stay if stay or any(protected(tag, args) for tag in front) else [])
        joined = between.join(front + drawn_tags(every, args, draws))
        return between.join(chosen(cleaned(caption, mark), joined, args, draws, guarded))

    @hookimpl(wrapper=True)
    def tokenize(self, texts):
        """Mark the texts that become zeros: the blank ones of `compose_text`; an empty text is encoded as ever."""
        ids = yield
        return dropped.marked(ids, texts) if ids is not None and self.zeros else ids

    @hookimpl(wrapper=True)
    def encode_tokens(self, input_ids):
        """Make zeros of the marked texts' states."""
        states = yield
        return dropped.zeroed(states, input_ids[0]) if states is not None and self.zeros else states


def check_values(args) -> None:
    """Raise UserError for a number that is out of its range."""
    if not 0 <= args.caption_dropout_rate <= 1:
        raise UserError(f"--caption_dropout_rate={args.caption_dropout_rate}: give a probability from 0 to 1")
    if args.dual_tag_drop_caption + args.dual_tag_drop_tags > 1 + 1e-9:
        raise UserError(
            "--dual_tag_drop_caption and --dual_tag_drop_tags are more than 1 together, and no sample loses both; "
            "lower one of them (--caption_dropout_rate is for empty texts)"
        )


def check_zeros(args) -> None:
    """Raise UserError for zeros that nobody would make, or that no text would be dropped for."""
    if not args.dual_tag_drop_to_zero:
        return
    if not args.caption_dropout_rate:
        raise UserError("--dual_tag_drop_to_zero has no effect without --caption_dropout_rate; add it, or drop both")
    encodes = manager.claimer_of(ENCODES, manager.current().names)
    if encodes is None or getattr(args, "token_chunks", None) == "upstream":
        name = manager.claimer_of(ENCODES)
        raise UserError(
            f"--dual_tag_drop_to_zero needs the plugin {name}, and another --{name} than upstream, which encodes by "
            "itself"
        )


def check_scores(args) -> None:
    """Raise UserError for tags of a field that cannot be read, or without the field."""
    for name in ("dual_tag_score_tags", "dual_tag_score_share"):
        default = 1.0 if name == "dual_tag_score_share" else None
        if getattr(args, name) != default and not args.dual_tag_score_field:
            raise UserError(f"--{name} has no effect without --dual_tag_score_field; add it, or drop this one")
    scores.check(args)


def check_policy(args) -> None:
    """Raise UserError for a flag that the policy, or the lack of another flag, would leave without effect."""
    for name in OF_CONCAT:
        if args.dual_tag != "concat" and getattr(args, name):
            raise UserError(f"--{name} has no effect with --dual_tag={args.dual_tag}; drop it or use concat")
    for name in OF_TAGS:
        if args.dual_tag == "caption" and getattr(args, name):
            raise UserError(f"--{name} changes tags and --dual_tag=caption trains on captions; drop one of them")
    if args.dual_tag_short_tags != SHORT_TAGS and not args.dual_tag_short:
        raise UserError("--dual_tag_short_tags has no effect without --dual_tag_short; drop it")
    for name in ("dual_tag_protect", "dual_tag_protect_regex"):
        if getattr(args, name) and not any(getattr(args, other) for other in PROTECTED_FROM):
            flags = ", ".join(f"--{other}" for other in PROTECTED_FROM)
            raise UserError(f"--{name} has no effect where no tag goes: give one of {flags}, or drop it")
    if args.dual_tag_keep_first and not (args.dual_tag_shuffle or args.dual_tag_drop_each_tag):
        raise UserError(
            "--dual_tag_keep_first has no effect without --dual_tag_shuffle or --dual_tag_drop_each_tag; drop it"
        )
