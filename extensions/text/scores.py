"""Makes a tag of a field of the metadata, a score or a rating, as the flags of the plugin dual_tag say."""

from collections.abc import Mapping
from functools import lru_cache

from extensions.base.errors import UserError
from extensions.text.composing import Draws

EXAMPLE = '--dual_tag_score_tags="0.8=score_9, 0.5=score_7"'


def drawn(fields: Mapping[str, float | str], args, draws: Draws) -> list[str]:
    """Return the tag of a sample's field, or none where it has none or is drawn to have none."""
    tag = tag_of(fields.get(args.dual_tag_score_field), args.dual_tag_score_tags)
    if not tag or draws.of("score").random() >= args.dual_tag_score_share:
        return []
    return [tag]


def tag_of(value: float | str | None, asked: str | None) -> str:
    """Return the tag of a value, "" for none. asked: --dual_tag_score_tags."""
    if isinstance(value, str):
        return dict(pairs(asked)).get(value, "") if asked else " ".join(value.split())
    reached = [(float(name), tag) for name, tag in pairs(asked)] if value is not None else []
    return max((each for each in reached if each[0] <= value), default=(0, ""))[1]


@lru_cache(maxsize=4)
def pairs(asked: str | None) -> tuple[tuple[str, str], ...]:
    """Return (value, tag) of each piece between commas. UserError for a piece that is no such thing."""
    found = []
    for piece in (asked or "").split(","):
        name, equal, tag = (each.strip() for each in piece.partition("="))
        if not (name and equal and tag):
            raise UserError(f"--dual_tag_score_tags: {piece.strip()!r} is not value=tag; give {EXAMPLE}")
        if name in dict(found):
            raise UserError(f"--dual_tag_score_tags has {name} twice; drop one of them")
        found.append((name, " ".join(tag.split())))
    return tuple(found)


def check(args) -> None:
    """Raise UserError for tags that cannot be read."""
    asked = args.dual_tag_score_tags
    if asked is not None and not thresholds(asked) and any(is_number(name) for name, _ in pairs(asked)):
        raise UserError(f"--dual_tag_score_tags={asked} mixes numbers and words; give one kind, e.g. {EXAMPLE}")


def thresholds(asked: str | None) -> bool:
    """Tell whether the tags are of numbers."""
    return asked is not None and all(is_number(name) for name, _ in pairs(asked))


def is_number(name: str) -> bool:
    """Tell whether this is a finite number."""
    try:
        return abs(float(name)) < float("inf")
    except ValueError:
        return False


def without_numbers(args) -> str:
    """Return what is to be done where the field has numbers, and the flags make no tags of such; else ""."""
    return "" if thresholds(args.dual_tag_score_tags) else f"say from which on there is which tag: {EXAMPLE}"
