"""Finds where upstream uses what one of its modules offers: the module may hand on what another one defines.

A name that is set in the module that hands it on is not seen by the code that calls it where it is defined, nor by a
module that has imported it by `from … import …`. Here it is set in each loaded module of upstream's tree that has it.
"""

import sys
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock


def modules(of: ModuleType) -> list[ModuleType]:
    """Return the loaded modules that lie in the same tree as `of`, itself among them: its trainers and library."""
    tree = f"{folder(of)}/"
    loaded = [module for module in list(sys.modules.values()) if isinstance(module, ModuleType)]
    files = [(module, vars(module).get("__file__")) for module in loaded]
    return [module for module, file in files if isinstance(file, str) and file.startswith(tree)]


def folder(of: ModuleType) -> Path:
    """Return the folder from which a module is imported: `library.train_util` lies one below."""
    return Path(str(of.__file__)).parents[of.__name__.count(".")]


def of_object(found: Any, of: ModuleType) -> list[tuple[ModuleType, str]]:
    """Return (module, name) of each place in the tree of `of` where this very object stands, under any name."""
    held = ((module, list(vars(module).items())) for module in modules(of))
    return [(module, name) for module, names in held for name, value in names if value is found]


def set_constants(stack: ExitStack, module: ModuleType, values: dict[str, Any]) -> None:
    """Set module-level names until the stack closes, wherever the tree has that object under that name.

    AttributeError for a name that upstream has dropped.
    """
    for name, value in values.items():
        before = getattr(module, name)
        for place in modules(module):
            if vars(place).get(name) is before:
                stack.enter_context(mock.patch.object(place, name, value))
