"""Plans what the validation of a run costs, and how many images it takes from the training."""

from dataclasses import dataclass

from extensions import manager
from extensions.evaluation import cost
from extensions.launch.stages import Asked
from extensions.plan import averages

IMAGES = "validation_images"  # the flag of whoever validates


@dataclass(frozen=True)
class Evaluation:
    """One evaluation: its forward passes of the U-Net, the optimizer steps between, its share of the time."""

    passes: int
    every: int
    share: float

    def text(self) -> str:
        """Return the line of a plan."""
        often = f"{self.passes:,} forward passes every {self.every:,} optimizer steps"
        return f"validation: {often}, {self.share:.2%} of the time"


def flags() -> set[str]:
    """Return the names of the flags that this reads."""
    return {flag.name for flag in manager.flags_of([_owner()])}


def of(asked: Asked) -> Evaluation | None:
    """Return what a run's evaluations cost; None where it has none."""
    given = _values(asked)
    if given is None:
        return None
    images = min(given[IMAGES], given["validation_count"] or given[IMAGES])
    kept = averages.of_run(asked.flags, asked.settings, asked.gpus)
    passes = cost.forward_passes(images, given["validation_strata"], kept.averages if kept else 0)
    a_step = asked.settings.batch_size * asked.settings.accumulation * asked.processes
    every = given["validate_every_n_steps"] or cost.interval(passes, a_step)
    return Evaluation(passes, every, cost.share(passes, every, a_step))


def left(asked: Asked, images: int | None) -> int | None:
    """Return the images that are left to train on, of a share as many as are to be expected."""
    given = _values(asked)
    if given is None or images is None:
        return images
    return images - (given["validation_count"] or round((given["validation_share"] or 0) * images))


def _owner() -> str:
    owner = manager.owner_of_flag(IMAGES)
    assert owner is not None  # a plugin of this package
    return owner


def _values(asked: Asked) -> dict | None:
    """Return the validation's flags by name, with their defaults; None where nobody validates."""
    if _owner() not in asked.settings.plugins:
        return None
    return {flag.name: flag.value_of(asked.flags.get(flag.name)) for flag in manager.flags_of([_owner()])}
