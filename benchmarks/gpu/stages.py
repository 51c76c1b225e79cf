"""Lists the stages in order of their worth: where the clock ends the check, what is worth least was left out."""

from dataclasses import dataclass
from importlib import import_module

MEMORY, CACHES = "the card's memory", "what the compiler keeps in a process"


@dataclass(frozen=True)
class Stage:
    """One stage.

    function: "module:name", the module below benchmarks.gpu unless it has dots; it takes a Setting. seconds: after so
    many at full size it is ended. least: with fewer left it does not begin. alone: why it has a process of its own,
    before which all others have given the card's memory back; MEMORY is no reason at tiny size.
    """

    name: str
    function: str
    seconds: int
    least: int
    alone: str = ""

    def is_alone(self, tiny: bool) -> bool:
        """Tell whether it has a process of its own."""
        return bool(self.alone) and not (tiny and self.alone == MEMORY)

    def run(self, setting) -> None:
        """Run it in this process."""
        module, _, name = self.function.partition(":")
        getattr(import_module(module if "." in module else f"benchmarks.gpu.{module}"), name)(setting)


TINY_SECONDS, TINY_LEAST = 300, 1  # of every stage at tiny size
STAGES = (
    Stage("environment", "environment:environment", 60, 5),
    Stage("model", "inputs:model", 90, 10),
    Stage("ours", "trainer:ours", 150, 40, alone=MEMORY),
    Stage("pristine", "trainer:pristine", 120, 40, alone=MEMORY),
    Stage("recompute-auto", "trainer:recompute_auto", 150, 40, alone=MEMORY),
    Stage("synchronisations", "synchronisations:synchronisations", 10, 1),
    Stage("variants", "variants:variants", 120, 24),
    Stage("exactness", "exactness:exactness", 120, 25),
    Stage("optimizers", "optimizers:optimizers", 90, 15, alone=MEMORY),
    Stage("without-plugins", "trainer:without_plugins", 120, 40, alone=MEMORY),
    Stage("resumed", "trainer:resumed", 120, 40, alone=MEMORY),
    Stage("collectives", "collectives:collectives", 60, 15, alone=MEMORY),
    Stage("states", "storage:states", 60, 15),
    Stage("loader", "storage:loader", 60, 10),
    Stage("compiled-cold", "compiled:cold", 150, 25, alone=CACHES),
    Stage("compiled-warm", "compiled:warm", 120, 15, alone=CACHES),
)
FIRST = ("environment", "model")  # what all others go by
BY_NAME = {stage.name: stage for stage in STAGES}
