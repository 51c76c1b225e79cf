"""Fits the memory model's two constants to the recorded readings, and checks it against them (make plan-check).

Least squares of the relative error, in two steps. `reserve` comes from the runs on several GPUs. `cached`
comes from those on one: 23.5 GB were read for 71 % and for 100 % of the U-Net alike, whose needs differ by
2.8 GB, so that what was read there is the card, filled by the allocator's cache, and not the need. Readings
near 24 GB are capped by the card in the same way.
"""

from dataclasses import dataclass

from extensions.flags import settings
from extensions.flags.words import Flags
from extensions.logbook import tables
from extensions.plan import vram
from extensions.plan.recorded import Reading
from extensions.plan.vram import Fit

LIMIT = 0.10
CONSTANTS = 2


@dataclass(frozen=True)
class Known:
    """A reading, and the GB that follow from the run's flags alone, without the reserve."""

    recorded: Reading
    parts: float

    def needed(self, constants: Fit) -> float:
        """GB that the run must have had."""
        return self.parts + constants.reserve

    def modelled(self, constants: Fit) -> float:
        """GB that the model says was read."""
        return vram.shown(self.needed(constants), self.recorded.gpus, self.recorded.card, constants)


@dataclass(frozen=True)
class Row:
    """A reading, what the model makes of it, and what it makes of it fitted without this row (GB)."""

    recorded: Reading
    modelled: float
    needed: float
    without_it: float

    @property
    def error(self) -> float | None:
        """Relative; None for a run that was out of memory."""
        return relative(self.modelled, self.recorded)

    @property
    def passes(self) -> bool:
        """Within the limit; a run that was out of memory must need more than the card has."""
        return self.needed > self.recorded.card if self.error is None else abs(self.error) <= LIMIT


def relative(modelled: float, recorded: Reading) -> float | None:
    """Return (modelled - recorded) / recorded; None where nothing was read."""
    return None if recorded.gb is None else modelled / recorded.gb - 1


def known(readings: list[Reading]) -> list[Known]:
    """Return the readings with their parts. UserError for a row whose flags make no sense.

    What was read had its gradients twice under DDP.
    """
    nothing, twice = Fit(0.0, 0.0), Flags.of_text(f"--{settings.AS_UPSTREAM}")
    setups = [vram.setup(row.flags.merged(twice), row.gpus) for row in readings]
    found = zip(readings, setups, strict=True)
    return [Known(row, vram.need(setup, nothing, row.before_first_step)) for row, setup in found]


def fit(rows: list[Known]) -> Fit:
    """Return the constants that bring the model closest to the readings. ValueError without one on several GPUs."""
    several = [row for row in rows if row.recorded.gb is not None and row.recorded.gpus > 1]
    single = [row for row in rows if row.recorded.gb is not None and row.recorded.gpus == 1]
    if not several:
        raise ValueError("the reserve is fitted to readings on several GPUs, and there is none")
    reserve = weighted_mean([(row.recorded.gb - row.parts, 1 / row.recorded.gb**2) for row in several])
    # reading = need + cached x (card - need), so that each row says what `cached` would be.
    shares = []
    for row in single:
        needed, read = row.parts + reserve, row.recorded
        if read.card > needed:
            shares.append(((read.gb - needed) / (read.card - needed), ((read.card - needed) / read.gb) ** 2))
    return Fit(reserve, weighted_mean(shares) if shares else 0.0)


def weighted_mean(values: list[tuple[float, float]]) -> float:
    """Mean of (value, weight): the least-squares answer for one constant."""
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def compare(rows: list[Known]) -> list[Row]:
    """Return every reading beside the model."""
    constants = fit(rows)
    return [
        Row(
            row.recorded,
            row.modelled(constants),
            row.needed(constants),
            row.modelled(fit([other for other in rows if other is not row])),
        )
        for row in rows
    ]


def check(readings: list[Reading]) -> int:
    """Print the table, the constants and the verdict; 1 when a row is beyond the limit, else 0."""
    rows = known(readings)
    constants, checked = fit(rows), compare(rows)
    columns = ["recorded run", "GB read", "modelled", "error", "left out", "need", ""]
    tables.show(columns, [cells(row) for row in checked])
    print(f"\nfitted to {sum(row.error is not None for row in checked)} readings, {CONSTANTS} constants:")
    print(f"  reserve  {constants.reserve:.2f} GB  CUDA context, NCCL, cuDNN, the allocator's rounding")
    print(f"  cached   {constants.cached:.2f}     of the card's rest, kept by the allocator of a single process")
    print("left out: the error of a row when both constants are fitted without it")
    print("readings near the card's size are capped by it: what was read there may be less than was wanted")
    for row in checked:
        if row.recorded.note:
            print(f"{row.recorded.name}: {row.recorded.note}")
    failed = [row.recorded.name for row in checked if not row.passes]
    print(f"beyond {LIMIT:.0%}: {'; '.join(failed) if failed else 'none'}")
    return int(bool(failed))


def cells(row: Row) -> list[str]:
    """One line of the table."""
    read = row.recorded
    verdict = "" if row.passes else "beyond"
    if row.error is None:
        return [read.name, f"> {read.card:g}", f"{row.needed:.1f}", "-", "-", f"{row.needed:.1f}", verdict]
    left_out = relative(row.without_it, read)
    return [read.name, f"{read.gb:.1f}", f"{row.modelled:.1f}", f"{row.error:+.1%}", f"{left_out:+.1%}",
            f"{row.needed:.1f}", verdict]  # fmt: skip
