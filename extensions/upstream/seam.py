"""Defines a seam: an upstream function, the wrapper that is called in its place, and when that must have happened."""

import argparse
import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from extensions.base.errors import UserError
from extensions.upstream import fired, uses

TABLE = "extensions/upstream/seams.py"
START = "before the first batch"
UPDATE = "before the first update"  # by the first batch: its texts, its noise, its forward pass
STEP_SAVE = "when a checkpoint was due at an optimizer step"
EPOCH_SAVE = "when a checkpoint was due at the end of an epoch"
SAVE = "when a checkpoint was due"
END = "at the end"


def always(args: argparse.Namespace) -> bool:
    """Of every run."""
    return True


@dataclass(frozen=True)
class Fires:
    """When a seam must have been called.

    moment: one of the above. family: of the runs that call it, "sdxl" or "sd2"; "" for both. asked: whether a run
    with these flags calls it. differs: training is another one without it. hook: it is so only where a plugin
    answers that hook.
    """

    moment: str
    family: str = ""
    asked: Callable[[argparse.Namespace], bool] = always
    differs: bool = False
    hook: str = ""


@dataclass(frozen=True)
class Seam:
    """One wrapped function. `takes`: the parameters that our wrapper relies on, by name."""

    module: str
    name: str
    wrapper: Callable[..., Any]
    takes: tuple[str, ...]
    reason: str
    fires: Fires = Fires(START)

    @property
    def path(self) -> str:
        """Where upstream has it, or hands it on."""
        return f"{self.module}.{self.name}"

    def home(self) -> ModuleType:
        """Return the module. UserError where upstream has none of that name."""
        try:
            return importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            if error.name and f"{self.module}.".startswith(f"{error.name}."):
                raise UserError(f"sd-scripts has no {self.module} any more; see {TABLE}") from None
            raise

    def target(self):
        """Return (owner, attribute name, current function). UserError if upstream no longer has it."""
        owner = self.home()
        *path, last = self.name.split(".")
        try:
            for part in path:
                owner = getattr(owner, part)
            return owner, last, getattr(owner, last)
        except AttributeError:
            raise UserError(f"sd-scripts has no {self.path} any more; see {TABLE}") from None

    def install(self) -> None:
        """Put the wrapper around upstream's function, once, wherever upstream has it by now.

        What is imported later from one of those places imports the wrapper. Once more after the trainer is imported:
        it may hold what it had from elsewhere.
        """
        owner, last, function = self.target()
        wrapped = function
        if getattr(function, "seam", None) is None:
            self.check(function)
            wrapped = self.around(function)
            setattr(owner, last, wrapped)
        if not inspect.isclass(owner):  # a class is one object, wherever it is handed on
            for module, name in uses.of_object(wrapped.__wrapped__, self.home()):
                setattr(module, name, wrapped)

    def around(self, function):
        """Return the wrapper; a plain function, so that Python binds `self` where it stands in a class."""

        at = fired.place(self.path)

        @functools.wraps(function)
        def call(*arguments, **keywords):
            fired.note(at)
            return self.wrapper(function, *arguments, **keywords)

        call.seam = self  # type: ignore[attr-defined]
        return call

    def check(self, function) -> None:
        """Raise UserError when upstream's function no longer takes what the wrapper reads."""
        missing = [name for name in self.takes if name not in inspect.signature(function).parameters]
        if missing:
            raise UserError(f"sd-scripts' {self.path} takes no {missing[0]} any more; see {TABLE}")
