"""Loads the plugins that a run lists, and refuses the unknown, the wrong and the clashing.

There is one manager a process. The trainers ask it with `current()`; before `install()` it is empty,
so that a patched file that is imported by a test behaves as upstream's own.
"""

import importlib
import os
import sys
from difflib import get_close_matches
from pathlib import Path

import pluggy

from extensions import hookspecs
from extensions.base.errors import UserError

FOLDER = Path(__file__).parent / "plugins"


def available() -> list[str]:
    """Names of the plugins of this package: the files of extensions/plugins/."""
    return sorted(file.stem for file in FOLDER.glob("[!_]*.py"))


class Manager:
    """The plugins of one run. `hook` is pluggy's relay: `manager.hook.<name>(argument=…)`."""

    def __init__(self, names: list[str] = ()):
        self._pluggy = pluggy.PluginManager(hookspecs.NAMESPACE)
        self._pluggy.add_hookspecs(hookspecs)
        self.names = list(names)
        self.plugins = {}
        for name in self.names:
            self.register(name, load(name))
        if os.environ.get("EXTENSIONS_TRACE") == "1":
            self._pluggy.add_hookcall_monitoring(_trace, lambda *_: None)

    @property
    def hook(self):
        return self._pluggy.hook

    def register(self, name: str, plugin) -> None:
        """Add one plugin. UserError: listed twice, unknown hook, wrong signature, or a thing claimed twice."""
        if name in self.plugins:
            raise UserError(f"--extensions lists {name} twice; list it once")
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
                    f"plugins {other_name} and {name} both decide {', '.join(sorted(both))}; "
                    "take one of them out of --extensions"
                )


def load(name: str):
    """A new instance of the plugin `name`. UserError with near names when there is none."""
    known = available()
    if name not in known:
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(known)}"
        raise UserError(f"--extensions: no plugin named {name!r}; {hint}")
    return importlib.import_module(f"extensions.plugins.{name}").Plugin()


def owner_of_flag(flag: str, parser_class) -> str | None:
    """The plugin that would add `flag`, listed or not; None where no plugin knows it."""
    for name in available():
        parser = parser_class(add_help=False)
        Manager([name]).hook.add_arguments(parser=parser)
        if flag in parser._option_string_actions:  # argparse has no public way to ask
            return name
    return None


def _trace(hook_name, _impls, arguments):
    shown = ", ".join(f"{key}={_short(value)}" for key, value in arguments.items())
    print(f"[hook] {hook_name}({shown})", file=sys.stderr, flush=True)


def _short(value) -> str:
    text = repr(value) if isinstance(value, (str, int, float, list, tuple)) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "…"


_current = Manager()
_args = None


def current() -> Manager:
    """This process's manager."""
    return _current


def install(names: list[str]) -> Manager:
    """Load the plugins of `--extensions` and make them this process's."""
    global _current
    _current = Manager(names)
    return _current


def set_args(args) -> None:
    """Remember the parsed flags for what upstream constructs without them (--dataset_class)."""
    global _args
    _args = args


def args():
    """The run's parsed flags. RuntimeError before the trainer has parsed them."""
    if _args is None:
        raise RuntimeError("the trainer's flags are not parsed yet")
    return _args
