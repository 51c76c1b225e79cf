"""Loads the plugins that a run lists, and refuses the unknown, the wrong and the clashing.

A plugin is a file of extensions/plugins/, or a module of anybody's under its dotted name, with a class `Plugin`. What
it declares stands on the class, to be read without making one: `flags` (extensions.flags.declared.Flag), `needs`,
`claims`, `reads`, `neutral` (extensions/README.md says what each means). A module imports torch inside its methods,
because the launcher reads declarations and waits for weeks.

There is one manager a process. The trainers ask it with `current()`; before `install()` it is empty,
so that a patched file that is imported by a test behaves as upstream's own.
"""

import importlib
import os
import sys
from collections.abc import Iterable
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import pluggy

from extensions import hookspecs
from extensions.base.errors import UserError

FOLDER = Path(__file__).parent / "plugins"


def listed(text: str | None) -> list[str]:
    """Split `--extensions` into names, between commas, without blanks around them; nobody else does.

    UserError for a name that stands twice.
    """
    names = [name for part in (text or "").split(",") if (name := part.strip())]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--extensions lists {twice[0]} twice; list it once")
    return names


def available() -> list[str]:
    """Return names of the plugins of this package: the files of extensions/plugins/."""
    return sorted(file.stem for file in FOLDER.glob("[!_]*.py"))


@cache
def declared(name: str) -> type:
    """Return the class `Plugin` of that name. UserError, with near names, where there is none."""
    known = available()
    if name not in known and "." not in name:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise UserError(f"--extensions: no plugin named {name!r}; {hint}; one of your own has a dotted name")
    module = f"extensions.plugins.{name}" if name in known else name
    if not all(part.isidentifier() for part in module.split(".")):
        raise UserError(f"--extensions: {name!r} is no name of a module; give one such as package.module")
    try:
        found = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module}.".startswith(f"{error.name}."):
            raise
        raise UserError(f"--extensions: no module {error.name} for the plugin {name}; is it on PYTHONPATH?") from None
    if not hasattr(found, "Plugin"):
        raise UserError(f"--extensions: {module} has no class Plugin; see extensions/README.md")
    return found.Plugin


def flags_of(names: Iterable[str]) -> list:
    """Return the flags that these plugins declare, in order."""
    return [flag for name in names for flag in getattr(declared(name), "flags", ())]


def is_neutral(name: str) -> bool:
    """Tell whether a plugin changes no weight; one that is not to be had any more counts as one that does."""
    try:
        return getattr(declared(name), "neutral", False)
    except UserError:
        return False


def owner_of_flag(flag: str) -> str | None:
    """Return the plugin of this package that has the flag (without dashes), listed or not; None where none has."""
    return next((name for name in available() if flag in {each.name for each in flags_of([name])}), None)


def reader_of(flag: str, names: Iterable[str] | None = None) -> str | None:
    """Return the plugin, among `names` or all of this package, that gives a flag of the trainer its meaning."""
    names = available() if names is None else names
    return next((name for name in names if flag in getattr(declared(name), "reads", ())), None)


def claimer_of(what: str, names: Iterable[str] | None = None) -> str | None:
    """Return the plugin, among `names` or all of this package, that decides what is claimed once; None for none."""
    names = available() if names is None else names
    return next((name for name in names if what in getattr(declared(name), "claims", ())), None)


class Manager:
    """The plugins of one run.

    `hook` is pluggy's relay, `manager.hook.<name>(argument=…)`, in the order of the list; a method that is marked
    tryfirst or trylast comes before or after all that are not.
    """

    def __init__(self, names: Iterable[str] = ()):
        self._pluggy = pluggy.PluginManager(hookspecs.NAMESPACE)
        self._pluggy.add_hookspecs(hookspecs)
        self.names = list(names)
        self.plugins: dict[str, Any] = {}
        loaded = {name: declared(name)() for name in self.names}
        for name in reversed(self.names):  # pluggy calls the last one first
            self.register(name, loaded[name])
        if os.environ.get("EXTENSIONS_TRACE") == "1":
            self._pluggy.add_hookcall_monitoring(_trace, lambda *_: None)

    @property
    def hook(self):
        return self._pluggy.hook

    def answers(self, hook: str) -> bool:
        """Tell whether any plugin has this hook."""
        return bool(getattr(self.hook, hook).get_hookimpls())

    def register(self, name: str, plugin) -> None:
        """Add one plugin before the others. UserError: unknown hook, wrong signature, or a thing claimed twice."""
        self._refuse_clash(name, plugin)
        try:
            self._pluggy.register(plugin, name=name)
            self._pluggy.check_pending()
        except pluggy.PluginValidationError as error:
            reason = " ".join(str(error).split())
            raise UserError(f"plugin {name} does not fit extensions/hookspecs.py: {reason}") from error
        self.plugins[name] = plugin

    def _refuse_clash(self, name: str, plugin) -> None:
        for other_name, other in self.plugins.items():
            both = set(getattr(plugin, "claims", ())) & set(getattr(other, "claims", ()))
            if both:
                raise UserError(
                    f"plugins {name} and {other_name} both decide {', '.join(sorted(both))}; "
                    "take one of them out of --extensions"
                )

    def require_needs(self) -> None:
        """Raise UserError for a plugin that is listed without another one that it needs."""
        for name, plugin in self.plugins.items():
            for other, why in getattr(plugin, "needs", {}).items():
                if other not in self.plugins:
                    raise UserError(f"{name} needs {other}, {why}; add it to --extensions")


def _trace(hook_name, _impls, arguments):
    shown = ", ".join(f"{key}={_short(value)}" for key, value in arguments.items())
    print(f"[hook] {hook_name}({shown})", file=sys.stderr, flush=True)


def _short(value) -> str:
    text = repr(value) if isinstance(value, (str, int, float, list, tuple)) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "…"


_current = Manager()
_args = None
_defaults: dict[str, Any] = {}


def current() -> Manager:
    """Return this process's manager."""
    return _current


def install(names: Iterable[str]) -> Manager:
    """Load the plugins of `--extensions` and make them this process's. UserError where one needs another."""
    global _current
    loaded = Manager(names)
    loaded.require_needs()
    _current = loaded
    return loaded


def set_args(args) -> None:
    """Remember the parsed flags for what upstream constructs without them (--dataset_class)."""
    global _args
    _args = args


def args():
    """Return the run's parsed flags. RuntimeError before the trainer has parsed them."""
    if _args is None:
        raise RuntimeError("the trainer's flags are not parsed yet")
    return _args


def set_defaults(defaults: dict[str, Any]) -> None:
    """Remember the values of flags that nobody gives, which training states compare by."""
    global _defaults
    _defaults = defaults


def defaults() -> dict[str, Any]:
    """Return {flag: its value where it is not given}; empty before the trainer's parser is made."""
    return _defaults
