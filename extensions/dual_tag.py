"""Which text a sample is trained on: natural-language caption, booru tags, or both.

    --dual_tag=concat   caption, then tags ("Dual Tag (concat …)" of the logbook)
    --dual_tag=pick     one of the two at random, each time the sample is drawn
    --dual_tag=tags     tags only
    --dual_tag=caption  caption only

A part that is empty or missing never loses the other one: where the policy asks for a part that is
not there, the part that is there is used. With --enable_wildcard, one line of a multi-line caption and
one alternative of each {a|b} are drawn, in the caption only: braces belong to some booru tags.
"""

import random
import re

from extensions.errors import UserError
from extensions.hookspecs import hookimpl

POLICIES = ("concat", "pick", "tags", "caption")
ALTERNATIVES = re.compile(r"\{([^{}|]*(?:\|[^{}|]*)+)\}")


def joined(parts: list[str], separator: str) -> str:
    """The non-empty parts, one line, with the separator between them and none doubled."""
    mark = separator.strip()
    clean = (" ".join(part.split()).strip(f"{mark} ") for part in parts)
    return f"{mark} ".join(part for part in clean if part)


def one_line_of(caption: str, draw: random.Random) -> str:
    """A random line of a caption that has several, with every {a|b} replaced by one alternative."""
    lines = [line for line in caption.splitlines() if line.strip()]
    line = draw.choice(lines) if lines else ""
    return ALTERNATIVES.sub(lambda found: draw.choice(found[1].split("|")), line)


def chosen(policy: str, caption: str, tags: str, draw: random.Random) -> list[str]:
    """The parts that a policy takes, in order."""
    if policy == "concat":
        return [caption, tags]
    if policy == "pick":
        return [draw.choice([caption, tags])] if caption.strip() and tags.strip() else [caption, tags]
    wanted, other = (tags, caption) if policy == "tags" else (caption, tags)
    return [wanted if wanted.strip() else other]


class Plugin:
    """Composes the text of each sample."""

    claims = ("the text of a sample",)

    @hookimpl
    def add_arguments(self, parser):
        group = parser.add_argument_group("dual_tag")
        group.add_argument("--dual_tag", choices=POLICIES, help="which text to train on (see extensions/dual_tag.py)")

    @hookimpl
    def check_arguments(self, args):
        if args.dual_tag is None:
            raise UserError(f"dual_tag is listed without --dual_tag; give one of {', '.join(POLICIES)}")
        if args.dataset_class is None:
            raise UserError(
                "dual_tag needs --dataset_class=extensions.data.dataset.LatentsDataset: "
                "upstream's own dataset joins caption and tags before a plugin sees them"
            )

    @hookimpl
    def compose_text(self, caption, tags, draw, args):
        if args.enable_wildcard:
            caption = one_line_of(caption, draw)
        return joined(chosen(args.dual_tag, caption, tags, draw), args.caption_separator)
