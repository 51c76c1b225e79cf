"""Plans what the images cost that a run draws of itself."""

from dataclasses import dataclass
from pathlib import Path

from extensions import manager
from extensions.evaluation import cost, prompts
from extensions.evaluation.prompts import Prompt
from extensions.flags import values
from extensions.launch.stages import Asked
from extensions.logbook import steps
from extensions.plan import averages

CAPTIONS = "sample_captions"  # the flag of whoever draws
READ = (
    CAPTIONS, "sample_prompts", "sample_every_n_steps", "sample_every_n_epochs", "sample_at_first",
    "sample_unconditional",
)  # fmt: skip
BOTH = "both"  # draws each image twice


@dataclass(frozen=True)
class Samples:
    """Images at a time, the optimizer steps between (0: at the end alone) and their share of the time."""

    images: int
    every: int
    share: float

    def text(self) -> str:
        """Return the line of a plan."""
        if not self.every:
            return f"samples: {self.images:,} images at the end alone"
        return f"samples: {self.images:,} images every {self.every:,} optimizer steps, {self.share:.2%} of the time"


def of(asked: Asked, images: int | None) -> Samples | None:
    """Return what the images cost; None where a run draws none. UserError for a file of prompts that is wrong.

    Counted in forward passes, each as dear as its pixels are more or fewer than a training image's. images: to train
    on; None where they are not known, then an interval in epochs counts for none.
    """
    owner = manager.owner_of_flag(CAPTIONS)
    if owner not in asked.settings.plugins:
        return None
    flags, family, settings = asked.flags, asked.settings.family, asked.settings
    side = prompts.SIZE[family]
    found = [Prompt("", side, side)] * _count(flags, CAPTIONS)
    if path := flags.get("sample_prompts"):
        found = prompts.read(Path(path), family) + found
    kept = averages.of_run(flags, settings, asked.gpus)
    columns = (2 if flags.get("sample_unconditional") == BOTH else 1) + (kept.averages if kept else 0)
    every = _count(flags, "sample_every_n_steps")
    if epochs := _count(flags, "sample_every_n_epochs"):
        shape = (asked.processes, settings.batch_size, settings.accumulation)
        every = epochs * steps.count(images, 1, *shape).optimizer_steps if images else 0
    a_step = settings.batch_size * settings.accumulation * asked.processes
    passes = sum(forward_passes(prompt, side) for prompt in found) * columns
    return Samples(len(found) * columns, every, cost.share(round(passes), every, a_step) if every else 0.0)


def forward_passes(prompt: Prompt, side: int) -> float:
    """Return an image's forward passes, in those of a training image. side: of a training image, in pixels."""
    return prompt.steps * (2 if prompt.guidance > 1 else 1) * prompt.width * prompt.height / side**2


def _count(flags, name: str) -> int:
    return values.count(f"--{name}", flags.get(name) or "0", least=0)
