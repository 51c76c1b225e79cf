"""Plans how long the ranks of one machine exchange gradients and weights in an optimizer step.

What was recorded on four RTX 3090 without NVLink, whose traffic goes through the machine's memory: two runs on one
machine that differ in accumulation alone give the time of a micro-step and what an optimizer step takes besides; with
the same micro-step, the others' speeds give theirs. All of it is counted as communication, though the step of the
optimizer is among it: a bandwidth so found is the least that the machine has.
"""

from dataclasses import dataclass
from math import ceil

from extensions.plan.vram import Setup

# Images a second on four GPUs, 71 % of the U-Net and both text encoders in bf16, accumulation 4; and one with 64.
HOSTS = {"EPYC 7F52": 3.259, "EPYC 7302P": 3.05, "Xeon W-2295": 2.092, "EPYC 7272": 1.58}
GPUS, SHORT = 4, 4
LONG_HOST, LONG, LONG_SPEED = "EPYC 7F52", 64, 4.0
GRADIENTS = 2 * (1_827_058_244 + 115_971_072 + 694_659_840)  # bytes, of those runs
BOUND = 0.1  # share of the time below which it is no matter


def seconds(accumulation: int, speed: float) -> float:
    """Return the time of an optimizer step of those runs. speed: images a second."""
    return GPUS * accumulation / speed


def micro_step() -> float:
    """Return seconds of a micro-step of one image on each of the four, 0.985."""
    apart = seconds(LONG, LONG_SPEED) - seconds(SHORT, HOSTS[LONG_HOST])
    return apart / (LONG - SHORT)


def bandwidth(host: str) -> float:
    """Return bytes a second that a recorded machine moves into, and out of, each GPU at the least."""
    fixed = seconds(SHORT, HOSTS[host]) - SHORT * micro_step()
    return passes(GPUS) * GRADIENTS / fixed


def passes(ranks: int) -> float:
    """Return how often each byte enters a rank, and leaves it, in a sum over a ring of ranks."""
    return 2 * (ranks - 1) / ranks


@dataclass(frozen=True)
class Exchange:
    """What a run exchanges. gradients, weights: bytes of all that trains; weights: those that travel, or 0."""

    ranks: int
    accumulation: int
    gradients: float
    weights: float
    each_micro_step: bool

    @property
    def bytes(self) -> float:
        """Bytes into each GPU an optimizer step. ZeRO's halves, of a sum, come in each micro-step and at the end."""
        half = passes(self.ranks) / 2
        if self.each_micro_step:
            return half * (self.accumulation * self.gradients + self.weights)
        return passes(self.ranks) * self.gradients + half * self.weights

    def row(self, name: str, rate: float) -> list[str]:
        """Return the cells of a machine. rate: bytes a second."""
        found = self.bytes / rate
        share = found / (found + self.accumulation * micro_step())
        return [name, f"{rate / 1e9:.1f}", f"{found:.2f}", f"{share:.0%}", self.enough(rate)]

    def enough(self, rate: float) -> str:
        """Return the micro-steps an optimizer step from which on communication is below a tenth of the time."""
        if self.each_micro_step:
            return "-"  # it grows with them
        return str(max(1, ceil(self.bytes / rate * (1 - BOUND) / BOUND / micro_step())))


def of(setup: Setup) -> Exchange | None:
    """Return what a run exchanges; None for one GPU."""
    if setup.gpus == 1:
        return None
    trained = sum(model.trainable for model in setup.models if model.trains)
    gradients = float((2 if setup.zero else setup.width) * trained)
    return Exchange(
        setup.gpus, setup.ga, gradients, gradients if setup.zero or setup.sharded else 0.0, each_micro_step=setup.zero
    )


HEAD = [
    "communication through the machine's memory",
    "GB/s",
    "s an optimizer step",
    "of the time",
    "below a tenth from",
]


def rows(exchange: Exchange, stated: float | None) -> list[list[str]]:
    """Return the table's rows: a stated bandwidth (GB/s), else the recorded machines' that there are."""
    if stated is not None:
        return [exchange.row("BUS", stated * 1e9)]
    return [exchange.row(f"{host}, recorded", bandwidth(host)) for host in HOSTS]
