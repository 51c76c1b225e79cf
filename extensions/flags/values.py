"""Numbers and switches from the caller's environment and the launcher's facts."""

from extensions.base.errors import UserError


def switch(name: str, text: str) -> bool:
    """1 or 0 from the environment. UserError for anything else."""
    if text not in ("0", "1"):
        raise UserError(f"{name}={text} is neither 1 nor 0")
    return text == "1"


def count(name: str, text: str, least: int) -> int:
    """A whole number from the environment. UserError for anything else or anything smaller."""
    try:
        value = int(text)
    except ValueError:
        value = least - 1
    if value < least:
        raise UserError(f"{name}={text} is not a whole number from {least} up")
    return value
