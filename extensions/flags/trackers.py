"""Requires the package of the tracker that --log_with names, before anything loads.

accelerate's trackers are packages of their own. Upstream imports wandb once data and models are there; the reference
trainer would go on without a word and without a log.
"""

from importlib.util import find_spec

from extensions.base.errors import UserError

PACKAGES = {"wandb": "wandb", "tensorboard": "tensorboard"}
ALL = "all"


def check(log_with: str | None, all_are_needed: bool) -> None:
    """Raise UserError where a package is missing. all_are_needed: with "all", as upstream has it."""
    asked = list(PACKAGES) if log_with == ALL and all_are_needed else [log_with]
    for name in asked:
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"--log_with={log_with}: the package {name} is not installed; .venv/bin/pip install {name}, or give "
                "--log_with=tensorboard"
            )
