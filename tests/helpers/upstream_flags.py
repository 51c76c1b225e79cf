"""Flags of sd-scripts' two trainers, as their own parsers have them."""

import importlib
import sys
from functools import cache

import pytest

from extensions.base.errors import UserError
from extensions.upstream import tree

SCRIPTS = ("sdxl_train.py", "fine_tune.py")


@cache
def all_flags() -> dict:
    """{name without dashes: its argparse action}; the test is skipped where sd-scripts cannot be had."""
    try:
        folder = str(tree.ensure())
    except UserError as error:
        pytest.skip(str(error))
    if folder not in sys.path:
        sys.path.insert(0, folder)
    found = {}
    for script in SCRIPTS:
        for action in importlib.import_module(script.removesuffix(".py")).setup_parser()._actions:
            found[action.option_strings[0].removeprefix("--")] = action
    del found["-h"]
    return found
