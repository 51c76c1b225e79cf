"""The memory model against the recorded readings: its two fitted constants, and `make plan-check`.

Least squares of the relative error, in two steps. `reserve` comes from the runs on several GPUs. `cached`
comes from those on one: 23.5 GB were read for 71 % and for 100 % of the U-Net alike, whose needs differ by
2.8 GB, so that what was read there is the card, filled by the allocator's cache, and not the need. Readings
near 24 GB are capped by the card in the same way.
"""

from dataclasses import dataclass

from extensions.logbook import tables, vram
from extensions.logbook.recorded import Reading
from extensions.logbook.vram import Fit

LIMIT = 0.10
CONSTANTS = 2


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
    """(modelled - recorded) / recorded; None where nothing was read."""
    return None if recorded.gb is None else modelled / recorded.gb - 1


def fit(readings: list[Reading]) -> Fit:
    """The constants that bring the model closest to the readings. ValueError without one on several GPUs."""
    known = [row for row in readings if row.gb is not None]
    several = [row for row in known if row.gpus > 1]
    if not several:
        raise ValueError("the reserve is fitted to readings on several GPUs, and there is none")
    bare = [(row.gb - needed(row, Fit(0, 0)), 1 / row.gb**2) for row in several]
    reserve = Fit(weighted_mean(bare), 0.0)
    # reading = need + cached x (card - need), so that each row says what `cached` would be.
    rest = [(row, row.card - needed(row, reserve)) for row in known if row.gpus == 1]
    shares = [((row.gb - needed(row, reserve)) / free, (free / row.gb) ** 2) for row, free in rest if free > 0]
    return Fit(reserve.reserve, weighted_mean(shares) if shares else 0.0)


def weighted_mean(values: list[tuple[float, float]]) -> float:
    """Mean of (value, weight): the least-squares answer for one constant."""
    return sum(value * weight for value, weight in values) / sum(weight for _, weight in values)


def needed(row: Reading, constants: Fit) -> float:
    """GB that the run of a reading must have had."""
    return vram.need(vram.setup(row.flags, row.gpus), constants, row.before_first_step)


def modelled(row: Reading, constants: Fit) -> float:
    """GB that the model says was read."""
    made = vram.setup(row.flags, row.gpus)
    return vram.reading(made, constants, row.card, row.before_first_step)


def rows(readings: list[Reading]) -> list[Row]:
    """Every reading beside the model."""
    constants = fit(readings)
    return [
        Row(
            row,
            modelled(row, constants),
            needed(row, constants),
            modelled(row, fit([r for r in readings if r != row])),
        )
        for row in readings
    ]


def check(readings: list[Reading]) -> int:
    """Print the table, the constants and the verdict; 1 when a row is beyond the limit, else 0."""
    constants, checked = fit(readings), rows(readings)
    columns = ["recorded run", "GB read", "modelled", "error", "left out", "need", ""]
    tables.show(columns, [cells(row) for row in checked])
    print(f"\nfitted to {sum(row.error is not None for row in checked)} readings, {CONSTANTS} constants:")
    print(f"  reserve  {constants.reserve:.2f} GB  CUDA context, NCCL, cuDNN, the allocator's rounding")
    print(f"  cached   {constants.cached:.2f}     of the card's rest, kept by the allocator of a single process")
    print("left out: the error of a row when both constants are fitted without it")
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
