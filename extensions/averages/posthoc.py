"""Makes the checkpoint of an average of any length, after the run, of the snapshots that it has left.

Read, added and written a piece at a time: the memory that it takes does not grow with the model.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import torch

from extensions.averages import files, fitting, profiles, shares, snapshots
from extensions.averages.pieces import Place
from extensions.averages.shares import Kept, Shares
from extensions.averages.tracks import ANCHOR
from extensions.base.errors import UserError
from extensions.base.saving import replacing, require_room, writing
from extensions.model.checkpoint import read_header

STEPS = "sdxl_trainer.optimizer_steps"  # in a checkpoint's metadata
PREFIX = "sdxl_trainer.average"


def suffix(name: str) -> str:
    """Return what stands between a checkpoint's name and .safetensors where it is the average of that name."""
    return f".{snapshots.FOLDER}-{name}"


def recipe(name: str, step: int, begin: int, made: str) -> dict[str, str]:
    """Return an average's metadata. step: of its last update; begin: the step from which it averages; made: how."""
    return {PREFIX: name, f"{PREFIX}.optimizer_steps": str(step), f"{PREFIX}.from_step": str(begin),
            f"{PREFIX}.made": made}  # fmt: skip


def require_length(text: str, called: str = "LENGTH") -> float:
    """Return a length. UserError for none that two tracks give well, under the name that it was given by."""
    try:
        length = float(text)
    except ValueError:
        length = 0.0
    if not fitting.SHORTEST <= length <= fitting.LONGEST:
        raise UserError(
            f"{called}={text} is not a length from {fitting.SHORTEST} to {fitting.LONGEST}, a share of the run; "
            f"give e.g. {called}=0.07"
        )
    return length


def require_snapshots(output: Path, step: int | None) -> list[Kept]:
    """Return the snapshots up to an optimizer step (None: the last). UserError where there are none."""
    folder = snapshots.folder_of(output)
    found = snapshots.usable(folder) if folder.is_dir() else []
    if not found:
        raise UserError(
            f"{folder} holds no snapshots of averages; train with the plugin and without --ema_snapshots=0"
        )
    if step is not None and step not in [each.step for each in found]:
        steps = ", ".join(str(each.step) for each in found)
        raise UserError(f"STEP={step}: no snapshot of that optimizer step; there is {steps}")
    return [each for each in found if step is None or each.step <= step]


def model_of(output: Path, step: int) -> Path:
    """Return a checkpoint of the run, for names, dtypes and what does not train: that of the step, else the newest.

    UserError where the run has left none.
    """
    found = [path for path in output.glob("*.safetensors") if not path.name.startswith(".")]
    if not found:
        raise UserError(f"{output} holds no checkpoint, which the averaged weights would be put into; keep one")

    def order(path: Path):
        said = read_header(path).metadata
        averaged, of_step = PREFIX in said, said.get(STEPS) == str(step)
        return of_step and not averaged, not averaged, path.stat().st_mtime_ns

    return max(found, key=order)


def path_of(output: Path, length: float, step: int | None = None) -> Path:
    """Return where the checkpoint of an average stands unless another file is asked for. UserError as in `make`."""
    last = require_snapshots(output, step)[-1]
    return beside(model_of(output, last.step), last.step, profiles.Power(length).name)


def beside(like: Path, step: int, name: str) -> Path:
    """Return the file of an average up to an optimizer step beside a checkpoint, which may be of another step."""
    stem = like.name.removesuffix(".safetensors").partition(f".{snapshots.FOLDER}-")[0]
    if read_header(like).metadata.get(STEPS) != str(step):
        stem = f"{stem}-step{step:08d}"
    return like.with_name(f"{stem}{suffix(name)}.safetensors")


def make(output: Path, length: float, step: int | None = None, path: Path | None = None) -> Path:
    """Write the checkpoint of an average; its path. UserError, and nothing written, for what cannot be made."""
    kept = require_snapshots(output, step)
    last = kept[-1]
    like = model_of(output, last.step)
    name = profiles.Power(length).name
    path = path or beside(like, last.step, name)
    if path.exists():
        raise UserError(f"{path} is there already; move it away, or give another OUT=")
    if not path.parent.is_dir():
        raise UserError(f"{path.parent} is no folder; make it, or give another OUT=")
    begin = last.facts["began"]
    times = profiles.updates(begin, last.step, last.facts["every"])
    names = [(each, profiles.Power(tracked).name) for each in kept for tracked in profiles.LENGTHS]
    factors = fitting.factors(
        [(tracked, each.step - begin) for each in kept for tracked in profiles.LENGTHS],
        last.step - begin, length, times,
    )  # fmt: skip
    require_room(path.parent, like.stat().st_size, "a checkpoint")
    made = recipe(name, last.step, begin, f"least squares over {len(kept)} snapshots")
    with ExitStack() as stack:
        opened = {each.path: stack.enter_context(Shares(each)) for each in kept}
        anchor = stack.enter_context(Shares(shares.read(snapshots.began_at(last.path.parent, begin))))
        terms = [(opened[each.path], track, float(factor))
                 for (each, track), factor in zip(names, factors, strict=True)]  # fmt: skip
        with writing(path, "make room, or give another OUT="), replacing(path) as temporary:
            files.write_changed(temporary, like, titled(like, made), added(anchor, terms))
    return path


def titled(like: Path, made: dict[str, str]) -> dict[str, str]:
    """Return the metadata that a checkpoint of averages has beside, or instead of, another's."""
    title = read_header(like).metadata.get("modelspec.title")
    return made | ({"modelspec.title": f"{title}{suffix(made[PREFIX])}"} if title else {})


def added(anchor: Shares, terms: list[tuple[Shares, str, float]]) -> Iterator[tuple[Place, torch.Tensor]]:
    """Yield the average's pieces: the anchors and, times their factors, all differences, added in fp64."""
    for place in anchor.all(ANCHOR):
        total = anchor.get(ANCHOR, place).double()
        for source, track, factor in terms:
            total.add_(source.get(track, place).double(), alpha=factor)
        yield place, total
