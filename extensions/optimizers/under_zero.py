"""Tells which optimizers ZeRO can have: those whose step is one number's at a time, and that were run under it.

ZeRO hands an optimizer flat pieces of all weights, cut anywhere. One that looks at a weight's shape goes on without a
word and trains otherwise. Each name that is let through was run by two processes of ZeRO-2, and gone on with from a
state (`tests/extensions/optimizers/test_under_zero.py`); a class of the same name in another package was not.
"""

from collections.abc import Mapping

from extensions.optimizers.facts import BNB, MASKS, OPTIMIZERS, classes, short

# Outside the table, and known to work one number at a time.
ELEMENTWISE = (
    "torch.optim.Adam", "torch.optim.SGD", "pytorch_optimizer.Lion",
    *(f"{BNB}.{name}" for name in ("Adam", "AdamW", "AdamW32bit", "Lion", "SGD")),
)  # fmt: skip
# Switches of --optimizer_args by which one that is elementwise is so no more.
BY_ARGUMENT = {
    "use_gc": "takes the mean off each weight's gradient",
    "adanorm": "scales each weight's gradient by its norm",
}


def names() -> list[str]:
    """Return the dotted classes that ZeRO can have, those that need cautious=False among them."""
    rows = [facts for facts in OPTIMIZERS if facts.shapes in ("", MASKS)]
    return [cls for facts in rows for cls in (facts.cls, *facts.aliases.values())] + list(ELEMENTWISE)


def identity(name: str) -> tuple[str, str]:
    """Return (package, class in lower case) of `--optimizer_type`, which a package offers under several paths.

    Nothing is imported: a launcher asks. A name without dots is upstream's or one of torch.optim.
    """
    dotted = name if "." in name else classes().get(name.lower(), f"torch.optim.{name}")
    return dotted.partition(".")[0], short(dotted)


def shapes_of(optimizer_type: str, arguments: Mapping[str, object]) -> str | None:
    """Return what an optimizer does with the shape of each weight, "" for nothing; None where nothing is known of it.

    arguments: its --optimizer_args. Two libraries have a mask under two names: a switch, and the share that is kept
    of what the mask takes away.
    """
    name = short(optimizer_type)
    row = next((facts for facts in OPTIMIZERS if name in {short(flag) for flag in (facts.cls, *facts.aliases)}), None)
    masks = arguments.get("cautious", row is not None and row.shapes == MASKS)
    if masks or arguments.get("cautious_factor", 1) != 1:
        return MASKS
    for switch, what in BY_ARGUMENT.items():
        if arguments.get(switch):
            return what
    if row is not None and row.shapes not in ("", MASKS):
        return row.shapes
    return "" if identity(optimizer_type) in {identity(each) for each in names()} else None
