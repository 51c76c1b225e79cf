"""All that is known of optimizers: one row of a table each, their state, and the two that are ours.

`--optimizer_type=extensions.optimizers.AdamW4bit` and `…CautiousLion` are the names that launchers use; they are
loaded when they are asked for, because the planner and the launcher read the table without torch.
"""

from importlib import import_module

OURS = {"AdamW4bit": "adamw4bit", "CautiousLion": "cautious_lion"}


def __getattr__(name: str):
    """Return the class of one of our optimizers. AttributeError for any other name."""
    if name not in OURS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{OURS[name]}"), name)
