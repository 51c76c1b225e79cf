"""Checks the value of a flag or a variable: each kind is a function of the text, and raises ValueError saying why."""

import os
import re
from collections.abc import Callable

from extensions.base.errors import UserError
from extensions.model.recomputation import WAYS


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Return a whole number from `least` up, to `most` where there is such a bound."""
    bounds = f"from {least} up" if most is None else f"from {least} to {most}"

    def number(text: str) -> int:
        digits = str(text).strip()
        if not re.fullmatch(r"[+-]?\d{1,40}", digits) or not least <= int(digits) <= (
            int(digits) if most is None else most
        ):
            raise ValueError(f"not a whole number {bounds}")
        return int(digits)

    return number


def at_least(least: float) -> Callable[[str], float]:
    """Return a finite number from `least` up."""

    def number(text: str) -> float:
        value = real(text)
        if value < least:
            raise ValueError(f"not a number from {least:g} up")
        return value

    return number


def file_name(text: str) -> str:
    """Return a name that a file or a folder can have below another, and no path."""
    if text in ("", ".", "..") or "/" in text or not text.isprintable() or text.startswith("-"):
        raise ValueError("not a plain name: letters, digits, dots, dashes and underscores, no path")
    if len(os.fsencode(text)) > LONGEST:
        raise ValueError(f"longer than {LONGEST} bytes, which leaves no room for what is added to a name")
    return text


def probability(text: str) -> float:
    """Return a number from 0 to 1."""
    value = real(text)
    if not 0 <= value <= 1:
        raise ValueError("not a probability from 0 to 1")
    return value


def percent(text: str) -> float:
    """Return a share of the U-Net's parameters that train: above 0, up to 100."""
    value = real(text)
    if not 0 < value <= 100:
        raise ValueError("not a percentage above 0 and up to 100 (to train text encoders only: --learning_rate=0)")
    return value


def recompute(text: str) -> str | float:
    """Return one of `recomputation.WAYS`, or the GB of activations that may be kept."""
    if text in WAYS:
        return text
    try:
        return at_least(0)(text)
    except ValueError:
        raise ValueError(f"neither {', '.join(WAYS)} nor a number of GB from 0 up") from None


def above_zero(text: str) -> float:
    """Return a finite number above 0."""
    value = real(text)
    if value <= 0:
        raise ValueError("not a number above 0")
    return value


def shift(text: str) -> float | str:
    """Return a number above 0, or `resolution`."""
    if text == "resolution":
        return text
    try:
        return above_zero(text)
    except ValueError:
        raise ValueError("neither a number above 0 nor resolution") from None


def real(text: str) -> float:
    """Return a finite number."""
    try:
        value = float(text)
    except (TypeError, ValueError):
        value = float("nan")
    if not abs(value) < float("inf") or (value == 0 and re.search("[1-9]", text.lower().partition("e")[0])):
        raise ValueError("not a number")  # beyond the largest, or so small that nothing is left of it
    return value


def regex(text: str) -> re.Pattern:
    """Return a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


LONGEST = 200  # bytes of a name; file systems take 255
ON, OFF = ("1", "yes", "true"), ("0", "no", "false")


def switch(name: str, text: str | None) -> bool:
    """Return what a variable of the environment says: 1, yes, true or 0, no, false; off where it is not given.

    UserError for anything else: what was meant must not become the other.
    """
    said = (text or "0").lower()
    if said not in (*ON, *OFF):
        raise UserError(
            f"{name}={text} is neither yes nor no: give {name}=1 or {name}=0 (yes, no, true and false, too)"
        )
    return said in ON


def count(name: str, text: str, least: int, most: int | None = None) -> int:
    """Return a whole number from the environment. UserError for anything else or anything out of bounds."""
    return parsed(name, text, whole(least, most))


def parsed(name: str, text: str, kind: Callable[[str], object]):
    """Return the value of `name=text`, a flag's with its dashes or a variable's.

    UserError in one line where it is none.
    """
    try:
        return kind(text)
    except ValueError as error:
        raise UserError(f"{name}={text} is {error}") from None
