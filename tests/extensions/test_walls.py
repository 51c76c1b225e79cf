"""Who may import whom: the floors of the house, room by room, and the rooms that know no torch.

A room is a folder of extensions/, or one of the three files at the top. It may import the rooms that FLOORS gives it,
itself, and what is no part of the project. Imports inside of functions count, too.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from extensions import manager
from extensions.base.paths import ROOT
from extensions.upstream import git

HOUSE = ROOT / "extensions"
TOP = {"hookspecs", "manager", "loop"}
GROUND = {"base", "hookspecs"}
SECOND = GROUND | {"model", "text", "optimizers", "manager"}
THIRD = SECOND | {"flags", "loop", "data", "resume"}
FOURTH = THIRD | {"trainer", "standins"}
FIFTH = FOURTH | {"reference", "upstream"}
# What each room may import besides itself.
FLOORS = {
    "base": set(),
    "hookspecs": set(),
    "manager": GROUND,
    "model": GROUND,
    "text": GROUND,
    "optimizers": GROUND,
    "flags": SECOND,
    "loop": SECOND,
    "data": SECOND,
    "resume": SECOND,
    "averages": SECOND,
    "objectives": {"base", "model"},
    "evaluation": THIRD | {"objectives"},
    "plugins": THIRD | {"averages", "evaluation", "objectives"},
    "trainer": THIRD,
    "standins": THIRD,
    "reference": FOURTH,
    "upstream": FOURTH,
    "launch": FIFTH - {"plugins"} | {"averages"},
    "logbook": {"launch", "flags", "resume", "base"},
    "plan": FIFTH | {"launch", "logbook", "evaluation"},
    "report": FIFTH | {"launch", "logbook", "plan", "averages", "evaluation"},
    "handing_on": FIFTH | {"launch", "logbook", "plan", "averages", "evaluation", "report"},
}
# Files that the planner and the launcher read: no torch, not even by what they import.
NO_TORCH = (
    "base", "flags", "manager", "hookspecs", "plugins", "model.checkpoint", "model.full_size", "model.unet_blocks",
    "model.recomputation",
    "optimizers.facts", "logbook", "plan", "report",
    "handing_on.card", "handing_on.verify", "handing_on.audit",
)  # fmt: skip
# The launcher waits for weeks beside the training. `batch` shows one and ends; `spawn` is the child that trains.
WITH_TORCH = {"batch", "spawn", "text_outputs"}


def rooms() -> set[str]:
    folders = {path.name for path in HOUSE.iterdir() if path.is_dir() and path.name != "__pycache__"}
    return folders | {path.stem for path in HOUSE.glob("[!_]*.py")}


def room_of(module: str) -> str | None:
    """The room of a dotted name; None for what is no part of extensions/."""
    package, _, rest = module.partition(".")
    return rest.partition(".")[0] or None if package == "extensions" else None


def imports(path: Path) -> set[str]:
    """Dotted names that a file imports, each as deep as it names a module."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def files() -> list[Path]:
    return sorted(path for path in HOUSE.rglob("*.py") if "__pycache__" not in path.parts)


def own(path: Path) -> str:
    """The room that a file is in."""
    first = path.relative_to(HOUSE).parts[0]
    return first.removesuffix(".py")


def crossings() -> list[str]:
    """Every import that goes through a wall."""
    found = []
    for path in files():
        here = own(path)
        if here == "__init__":
            continue
        for module in sorted(imports(path)):
            there = room_of(module)
            if there is None or there == here and here != "plugins":
                continue
            if there not in FLOORS[here]:
                found.append(f"{path.relative_to(ROOT)} imports {module}")
    return found


def test_every_room_has_a_floor():
    assert rooms() == set(FLOORS)


def test_the_top_is_what_patches_and_plugin_writers_name():
    assert {path.stem for path in HOUSE.glob("[!_]*.py")} == TOP


def test_no_import_goes_through_a_wall():
    assert crossings() == []


def calls_git(path: Path) -> bool:
    """Whether a file starts git itself: a list or tuple of words that begins with it."""
    words = (node.elts for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if hasattr(node, "elts"))
    return any(each and isinstance(each[0], ast.Constant) and each[0].value == "git" for each in words)


def test_git_is_called_in_one_place():
    """The one with the time limit, which fetches nothing unasked."""
    listed = git.output(ROOT, "ls-files").splitlines()
    calling = [name for name in listed if name.endswith(".py") and calls_git(ROOT / name)]
    assert calling == ["extensions/upstream/git.py"]
    shells = [name for name in listed if name.endswith(".sh") or name in {"Makefile", ".ci/run"}]
    called = re.compile(r"(^[\s@-]*|[;&|(`]\s*)git\s", re.MULTILINE)
    assert [name for name in shells if called.search((ROOT / name).read_text(encoding="utf-8"))] == []


def test_extensions_import_neither_tests_nor_benchmarks():
    outside = {"tests", "benchmarks"}
    assert [path for path in files() if {m.partition(".")[0] for m in imports(path)} & outside] == []


def modules(room: str) -> list[str]:
    """Dotted names of a room's files, or of the one that is named."""
    folder = HOUSE / room.replace(".", "/")
    return [f"extensions.{room}.{path.stem}" for path in folder.glob("[!_]*.py")] or [f"extensions.{room}"]


def loads(package: str, names: list[str]) -> bool:
    """Whether a fresh interpreter that imports these modules has the package, too."""
    program = (
        "import sys, importlib; [importlib.import_module(n) for n in sys.argv[1:]]; "
        f"print({package!r} in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *names], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return done.stdout.split()[-1] == "True"


@pytest.mark.parametrize("room", NO_TORCH)
def test_no_torch_at_import(room):
    assert not loads("torch", modules(room))


def test_a_launcher_waits_without_torch():
    names = [name for name in modules("launch") if name.rpartition(".")[2] not in WITH_TORCH]
    assert not loads("torch", [*names, "extensions.launch.__main__"])


def test_no_function_of_the_launcher_imports_torch():
    """What gpus.py asks of torch, and all that the trainers do, happens in a child."""
    found = {
        path.stem
        for path in (HOUSE / "launch").glob("*.py")
        if any(m.split(".")[0] == "torch" for m in imports(path))
    }
    assert found <= WITH_TORCH


def strings(path: Path) -> set[str]:
    """Every word that stands in a string of a file, docstrings apart."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    heads = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and id(n) not in heads)
    return {word for text in texts if isinstance(text, str) for word in re.findall(r"\w+", text)}


def test_the_core_knows_no_plugin_by_name():
    """A flag that is called like its plugin is a flag, and may be named."""
    plugins = set(manager.available())
    names = plugins - {flag.name for flag in manager.flags_of(plugins)}
    assert {"record_run", "resume_at_step", "save_states"} <= names
    found = {(own(path), word) for path in files() if own(path) != "plugins" for word in strings(path) & names}
    assert found == set()


def test_a_check_of_the_flags_alone_is_spared_accelerate():
    assert not loads("accelerate", ["extensions.trainer.start"])
