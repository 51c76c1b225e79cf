"""Where things stand in the repository; one place, so that no other file counts parents."""

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SUBMODULE = ROOT / "sd-scripts"
PATCHES = ROOT / "patches"
LAUNCHERS = ROOT / "train"
RUNTIME = ROOT / "sd-scripts-runtime"
CONFIGS = RUNTIME / "configs"
PATCHED = RUNTIME / "patched"
LOGS = RUNTIME / "logs" / "train"
STANDIN_MODELS = RUNTIME / "models" / "standins"
STANDIN_DATASETS = RUNTIME / "datasets" / "standins"
