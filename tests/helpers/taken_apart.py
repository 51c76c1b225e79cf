"""Takes a copy of sd-scripts apart, as its authors did in 2026: functions move to new modules behind re-exports.

Every module that we wrap something of becomes two: `library/<name>_parts.py`, which has all its code, and
`library/<name>.py`, which hands on every name of it. The trainers import some functions by name, from where they are.
"""

import shutil
from pathlib import Path

MOVED = (
    "train_util", "model_util", "sdxl_model_util", "sdxl_train_util", "sdxl_original_unet", "original_unet",
    "deepspeed_utils", "strategy_base", "strategy_sd", "strategy_sdxl",
)  # fmt: skip
TRAINERS = ("sdxl_train.py", "fine_tune.py")
BY_NAME = ("get_optimizer", "prepare_accelerator", "get_noise_noisy_latents_and_timesteps")
HANDED_ON = """from library import {name}_parts as parts

globals().update({{name: value for name, value in vars(parts).items() if not name.startswith("__")}})
"""
IMPORT = "import library.train_util as train_util\n"


def take_apart(tree: Path, folder: Path) -> Path:
    """Copy what the trainers need of `tree` to `folder` and move its functions; returns `folder`."""
    (folder / "library").mkdir(parents=True)
    for path in [*tree.glob("*.py"), *tree.glob("library/*.py")]:
        shutil.copyfile(path, folder / path.relative_to(tree))
    for kept in ("ipex",):
        shutil.copytree(tree / "library" / kept, folder / "library" / kept)
    for name in MOVED:
        whole = folder / "library" / f"{name}.py"
        whole.rename(whole.with_name(f"{name}_parts.py"))
        whole.write_text(HANDED_ON.format(name=name), encoding="utf-8")
    for trainer in TRAINERS:
        text = (folder / trainer).read_text(encoding="utf-8")
        assert IMPORT in text
        text = text.replace(IMPORT, f"{IMPORT}from library.train_util_parts import {', '.join(BY_NAME)}\n")
        for name in BY_NAME:
            assert f"train_util.{name}(" in text
            text = text.replace(f"train_util.{name}(", f"{name}(")
        (folder / trainer).write_text(text, encoding="utf-8")
    return folder
