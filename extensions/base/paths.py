"""Names the folders of the repository; one place, so that no other file counts parents."""

import os
from pathlib import Path

from extensions.base.errors import UserError

ROOT = Path(__file__).resolve().parents[2]
SUBMODULE = ROOT / "sd-scripts"
PATCHES = ROOT / "patches"
LAUNCHERS = ROOT / "train"
RUNTIME = ROOT / "sd-scripts-runtime"
CONFIGS = RUNTIME / "configs"
PATCHED = RUNTIME / "patched"
LOGS = Path(os.environ.get("LOGS") or RUNTIME / "logs" / "train")  # LOGS: another disk, or a test's folder
CHECKS = LOGS.parent / "check-data"  # one folder a check
TORCH_EXTENSIONS = RUNTIME / "cache" / "torch_extensions"  # one folder a kind of processor
COMPILED = RUNTIME / "cache" / "compiled"  # one folder a run, in it one a kind of processor
STANDIN_MODELS = RUNTIME / "models" / "standins"
STANDIN_DATASETS = RUNTIME / "datasets" / "standins"


def shown(path: Path) -> str:
    """Return a path for a person: relative to the repository where it lies below it."""
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else str(path)


def is_file_name(text: str) -> bool:
    """Tell whether a text names a file of a folder: no path, and not longer than a disk takes.

    UnicodeEncodeError, a ValueError, for a text that is no Unicode.
    """
    return 0 < len(os.fsencode(text)) <= 255 and text not in {".", ".."} and "/" not in text and text.isprintable()


def require_apart(out: Path, source: Path, what: str) -> None:
    """Raise UserError where `out` is the folder that is read, or lies in it: what is written would be read, too."""
    if out.resolve().is_relative_to(source.resolve()):
        raise UserError(f"OUT={out} lies in the {what} {source}; give a folder outside of it")
