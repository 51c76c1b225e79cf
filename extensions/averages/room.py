"""Refuses averages that memory does not hold, and snapshots of them that the disk does not, before a run begins."""

from collections.abc import Sequence
from pathlib import Path

import psutil

from extensions.averages import snapshots
from extensions.averages.pieces import Piece
from extensions.averages.tracks import BYTES
from extensions.base.errors import UserError
from extensions.base.processes import from_all, from_main
from extensions.base.saving import require_room

MEMORY = 0.9  # of what is free, that averages may take


def bytes_of(pieces: Sequence[Piece], averages: int) -> int:
    """Return what averages take on a machine: a weight as it began and as it is, and fp32 for each average."""
    return sum(piece.place.count * (2 * piece.parameter.element_size() + BYTES * averages) for piece in pieces)


def require_memory(accelerator, pieces: Sequence[Piece], averages: int) -> None:
    """Raise UserError, on every process, where a machine has no memory for the averages of its ranks."""
    needed, free = bytes_of(pieces, averages), psutil.virtual_memory().available
    if any(from_all(accelerator, needed > MEMORY * free)):
        raise UserError(
            f"averages of the weights take {needed / 1e9:.1f} GB of memory on a machine, {free / 1e9:.1f} GB "
            "are free here; take the plugin out of --extensions, or train fewer weights"
        )


def begin_snapshots(accelerator, folder: Path, step: int, count: int, elements: int) -> None:
    """Note the launch, and that the disk holds so many snapshots more. UserError, on every process, where not.

    step: where the run stands; elements: that are averaged.
    """
    reason = None
    if accelerator.is_main_process and (count or folder.is_dir()):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            what = f"{count} snapshots of the averages (--ema_snapshots)"
            require_room(folder, count * snapshots.bytes_of(elements), what)
            snapshots.begin_launch(folder, step)
        except (UserError, OSError) as error:
            reason = str(error)
    if reason := from_main(accelerator, reason):
        raise UserError(reason)
