"""Saves averages beside the checkpoints of a run: the same file with the averaged weights in it.

Keys, dtypes, metadata and what does not train are the trainer's own, from the checkpoint that it has just written.
Process 0 writes; the other ranks of its machine hand it their shares a piece at a time. The last checkpoint is
written when the processes no longer talk to each other: their shares lie in files until then.
"""

import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from extensions.averages import files, posthoc, snapshots
from extensions.averages.pieces import Place
from extensions.averages.ranks import Ranks
from extensions.averages.tracks import Tracks
from extensions.base.errors import UserError
from extensions.base.processes import from_all, from_main
from extensions.base.saving import replacing_checkpoint, require_room
from extensions.model.checkpoint import read_header

SHARES = ".averages.part"  # in the folder of the checkpoints: the ranks' shares of the last ones


def path_of(checkpoint: Path, name: str) -> Path:
    """Return the file of an average beside a checkpoint."""
    return checkpoint.with_name(f"{checkpoint.stem}{posthoc.suffix(name)}.safetensors")


def write(checkpoint: Path, name: str, tracks: Tracks, values: Iterable[tuple[Place, torch.Tensor]]) -> None:
    """Write one average beside a checkpoint. UserError where the disk does not hold it; what was there stays then."""
    path = path_of(checkpoint, name)
    print(f"saving {path}", flush=True)
    made = posthoc.recipe(name, tracks.updated, tracks.begins[name], "tracked")
    try:
        require_room(path.parent, checkpoint.stat().st_size, "a checkpoint of averages")
        with replacing_checkpoint(path) as temporary:
            files.write_changed(temporary, checkpoint, posthoc.titled(checkpoint, made), values)
    except (OSError, UserError, ValueError) as error:
        raise UserError(f"no averages beside {checkpoint}: {error}; the checkpoint is whole") from None


class Beside:
    """Writes the averages of a run; every process makes one, and calls it together with the others."""

    def __init__(self, tracks: Tracks, ranks: Ranks, accelerator, output: Path):
        self.tracks, self.ranks, self.accelerator, self.output = tracks, ranks, accelerator, output

    def all(self, checkpoint: Path) -> None:
        """Write all averages beside a checkpoint. UserError, on every process, where process 0 cannot."""
        for name in self.tracks.profiles:
            reason = None
            values = self.ranks.values(self.tracks, name) if self.ranks.writes else iter(())
            if self.accelerator.is_main_process:
                try:
                    write(checkpoint, name, self.tracks, ((piece.place, value) for piece, value in values))
                except UserError as error:
                    reason = str(error)
            for _ in values:  # what process 0 does not take any more, the others hand on all the same
                pass
            if reason := from_main(self.accelerator, reason):
                raise UserError(reason)

    def missing(self, step: int) -> list[Path]:
        """Return the checkpoints of this step that a killed run has left without averages; asked on process 0."""
        paths = [path for path in self.output.glob("*.safetensors") if f".{snapshots.FOLDER}-" not in path.name]
        lacking = [path for path in paths if not all(path_of(path, name).exists() for name in self.tracks.profiles)]
        return [path for path in lacking if read_header(path).metadata.get(posthoc.STEPS) == str(step)]

    def lay_down(self) -> None:
        """Leave the shares where process 0 finds them alone. UserError, on every process, where one cannot."""
        if self.ranks.count == 1:
            return
        reason = None
        try:
            if self.ranks.writes:
                (self.output / SHARES).mkdir(parents=True, exist_ok=True)
                for name in self.tracks.profiles:
                    layout = {piece.place.name: (torch.float32, piece.place.count) for piece in self.tracks.own}
                    values = ((place.name, value) for place, value in self.tracks.values(name))
                    files.write_flat(self.share(name, self.ranks.me), layout, values)
        except OSError as error:
            reason = str(error)
        if reason := next(filter(None, from_all(self.accelerator, reason)), None):
            raise UserError(f"no averages beside the last checkpoint: {reason}; make room, then RESUME=auto goes on")

    def share(self, name: str, rank: int) -> Path:
        return self.output / SHARES / f"{name}-{rank}.safetensors"

    def last(self, checkpoint: Path) -> None:
        """Write all averages beside the last checkpoint, on process 0 alone, after `lay_down`."""
        for name in self.tracks.profiles:
            write(checkpoint, name, self.tracks, self.laid_down(name))
        self.clear()

    def laid_down(self, name: str) -> Iterator[tuple[Place, torch.Tensor]]:
        if self.ranks.count == 1:
            yield from self.tracks.values(name)
            return
        for rank in range(self.ranks.count):
            with open(self.share(name, rank), "rb", buffering=0) as file:
                header, start = files.Header.read(file)
                tensors = files.Tensors(file, header, start)
                yield from ((Place.of_name(own), tensors.get(own)) for own in header.entries)

    def clear(self) -> None:
        """Take away the shares of the last checkpoint, and what a killed run has left of them."""
        shutil.rmtree(self.output / SHARES, ignore_errors=True)

    def remove_orphans(self) -> None:
        """Take away averages whose checkpoint the trainer has taken away (--save_last_n_…); on process 0."""
        mark = f".{snapshots.FOLDER}-"
        for path in self.output.glob(f"*{mark}*.safetensors"):
            if not path.with_name(f"{path.name.partition(mark)[0]}.safetensors").exists():
                path.unlink(missing_ok=True)
