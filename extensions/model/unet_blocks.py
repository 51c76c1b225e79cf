"""Picks the blocks of a U-Net to freeze for a given percentage.

63, 68 and 71 are the variants of the logbook, block by block. For any other number the rule is: the
candidates are whole residual, attention, down- and up-sampling blocks (never the embeddings, the first
and the last convolution, which the logbook never froze either); of all sets of candidates the one whose
frozen share comes closest to the wanted one is taken, sizes rounded to 1/40,000 of the U-Net; of equals,
the one that freezes less and, block by block in the order of the file, leaves the earlier block alone.
"""

import re
from dataclasses import dataclass

from extensions.base.errors import UserError

CANDIDATE = re.compile(r"^((?:input|output)_blocks\.[1-9]\d*\.\d+|output_blocks\.0\.\d+|middle_block\.\d+)\.")
STEPS = 40_000  # resolution of the search: the chosen set is within 0.05 % of the best one


@dataclass(frozen=True)
class Variant:
    """A variant of the logbook: frozen blocks of SDXL (LDM names) and the full-size trainable count."""

    trainable: int
    frozen: tuple[str, ...]


FROZEN_71 = (
    "input_blocks.1.0",
    "input_blocks.2.0",
    "input_blocks.3.0",
    "input_blocks.6.0",
    "input_blocks.8.1",
    "output_blocks.0.1",
    "output_blocks.2.2",
    "output_blocks.5.2",
    "output_blocks.6.0",
    "output_blocks.7.0",
    "output_blocks.8.0",
)
FROZEN_68 = (*FROZEN_71, "middle_block.0", "middle_block.2")
FROZEN_63 = (
    *FROZEN_68,
    "input_blocks.4.0",
    "input_blocks.5.0",
    "input_blocks.8.0",
    "output_blocks.0.0",
    "output_blocks.3.0",
    "output_blocks.4.0",
    "output_blocks.5.0",
)

HISTORICAL = {
    63.0: Variant(1_629_562_564, FROZEN_63),
    68.0: Variant(1_764_781_124, FROZEN_68),
    71.0: Variant(1_827_058_244, FROZEN_71),
    100.0: Variant(2_567_463_684, ()),
}


def choose_frozen(sizes: dict[str, int], percent: float, family: str) -> list[str]:
    """Prefixes of the blocks to freeze, in the order of the U-Net.

    sizes: parameter name (LDM) to number of elements. percent: in (0, 100]. family: "sdxl" or "sd2".
    UserError for a percentage of the logbook on anything but SDXL.
    """
    if percent == 100:
        return []
    blocks = block_sizes(sizes)
    variant = HISTORICAL.get(percent)
    if variant is None:
        return closest_set(blocks, sum(sizes.values()), percent)
    if family != "sdxl":
        raise UserError(
            f"--unet_percent={percent:g} names blocks of SDXL; for SD2 give another number, e.g. {percent + 0.5:g}"
        )
    missing = [block for block in variant.frozen if block not in blocks]
    if missing:
        raise UserError(f"--unet_percent={percent:g}: the U-Net has no block {missing[0]}; is the checkpoint SDXL?")
    return [block for block in blocks if block in variant.frozen]


def block_sizes(sizes: dict[str, int]) -> dict[str, int]:
    """Elements of each candidate block, in the order of the U-Net."""
    blocks: dict[str, int] = {}
    for name, size in sizes.items():
        found = CANDIDATE.match(name)
        if found:
            blocks[found[1]] = blocks.get(found[1], 0) + size
    return blocks


def closest_set(blocks: dict[str, int], total: int, percent: float) -> list[str]:
    """Return the blocks whose sizes sum up closest to (100 - percent) % of `total`.

    Subset sum over sizes in units of total / STEPS; the reachable sums are the bits of one integer, so
    some fifty blocks cost a few milliseconds.
    """
    units = {name: round(size * STEPS / total) for name, size in blocks.items()}
    reachable = [1]
    for unit in units.values():
        reachable.append(reachable[-1] | reachable[-1] << unit)
    rest = nearest_bit(reachable[-1], round((100 - percent) * STEPS / 100))
    frozen = []
    for number, (name, unit) in reversed(list(enumerate(units.items()))):
        # Later blocks are taken first, so that earlier ones stay trainable where there is a choice.
        without = reachable[number]
        if unit <= rest and without >> (rest - unit) & 1 and unit:
            frozen.append(name)
            rest -= unit
    return frozen[::-1]


def nearest_bit(bits: int, position: int) -> int:
    """Index of the set bit nearest to `position`; of two equally near the lower."""
    for distance in range(max(bits.bit_length(), position) + 1):
        for candidate in (position - distance, position + distance):
            if candidate >= 0 and bits >> candidate & 1:
                return candidate
    raise ValueError("no bit is set")
