"""Requires the packages of the trackers that --log_with names, before anything loads.

accelerate's trackers are packages of their own. Upstream imports wandb once data and models are there; accelerate
alone goes on without a word and without a log. "all" is both of them, with either trainer.
"""

from importlib.util import find_spec

from extensions.base.errors import UserError

PACKAGES = {"wandb": "wandb", "tensorboard": "tensorboard"}
ALL = "all"


def check(log_with: str | None) -> None:
    """Raise UserError where a package is missing."""
    for name in PACKAGES if log_with == ALL else [log_with]:
        if name in PACKAGES and find_spec(PACKAGES[name]) is None:
            raise UserError(
                f"--log_with={log_with}: the package {name} is not installed; .venv/bin/pip install {name}, or give "
                "--log_with=tensorboard"
            )
