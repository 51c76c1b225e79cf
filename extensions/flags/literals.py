"""Reads values of flags that are Python literals."""

import ast

from extensions.base.errors import UserError


def literals(flag: str, words: list[str] | None) -> dict:
    """Return {key: value} of `--optimizer_args weight_decay=0.01 betas=.9,.99`. UserError for what is no literal."""
    found = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            equals = ""
        if not equals:
            raise UserError(f"--{flag}: {word!r} is not key=value with a Python literal, e.g. weight_decay=0.01")
    return found
