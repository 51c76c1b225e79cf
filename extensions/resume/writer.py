"""Writes a training state while the training goes on.

The values are copied to memory at the end of an optimizer step and written by a thread. Where memory does not hold
the copies (a U-Net in fp32 with its optimizer takes some 30 GB), the values themselves are written, a piece at a
time, before the training goes on. The description is written last, by process 0, when every process has said that
its files are there (`notes`). Where one has failed, the state is given up, and the last good one stays.
"""

import shutil
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from extensions.base.errors import UserError
from extensions.base.processes import any_process, from_all, from_main
from extensions.base.saving import require_room
from extensions.resume import process_notes, states
from extensions.resume.description import Description
from extensions.resume.parts import Part, size_of

SHARE_OF_MEMORY = 0.8  # of what is free, that copies may take
TURN = 60  # seconds of waiting for a state in one call: NCCL ends a process that waits ten minutes

_writers: list["Writer"] = []


def settle() -> None:
    """Wait, on every process, until the state under way, if any, has its name."""
    for writer in _writers:
        writer.join_all()


class Writer:
    """Writes states to `folder`, at most one at a time, and keeps the newest `keep`.

    accelerator: of the run; every process has a writer and calls `save` together with the others.
    """

    def __init__(self, folder: Path, keep: int, accelerator):
        self.folder, self.keep, self.accelerator = folder, keep, accelerator
        self.thread: threading.Thread | None = None
        _writers[:] = [self]

    def save(
        self, facts: Description, values: list[tuple[str, Callable]], writers: list[int], wait: bool = False
    ) -> None:
        """Save a state. What goes wrong is told, and the run goes on with the states that it has.

        facts: of the description, the same on every process. values: (file name, function giving the value) of
        this process; writers: the processes that have any. wait: come back when the state has its name.
        """
        self.join_all()  # of the state before this one
        temporary = self.folder / f".{states.name_of(facts.optimizer_steps)}.part"
        needed = sum(size_of(value()) for _, value in values)
        copied = needed < SHARE_OF_MEMORY * psutil.virtual_memory().available / len(writers)
        said = from_all(self.accelerator, (needed, copied))
        if reason := self.begin(temporary, facts, sum(size for size, _ in said), writers):
            if self.accelerator.is_main_process:
                self.give_up(temporary, facts, reason)
            return
        if self.accelerator.process_index in writers:
            made: Iterable[Part] = (Part(name, value(), copied) for name, value in values)
            if copied:  # now
                made = list(made)
            self.thread = threading.Thread(target=self.write, args=(temporary, facts, made, writers), daemon=False)
            self.thread.start()
        if wait or not all(background for _, background in said):
            self.join_all()

    def begin(self, temporary: Path, facts: Description, needed: int, writers: list[int]) -> str | None:
        """Make the folder on process 0, if the disk has room for all; on every process why there is none to write to.

        needed: bytes that all processes together will write.
        """
        reason = None
        if self.accelerator.is_main_process:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                states.remove_left(self.folder)
                require_room(self.folder, int(1.1 * needed), "a state")
                states.begin(self.folder, facts.optimizer_steps)
            except (UserError, OSError) as error:
                reason = str(error)
        if reason := from_main(self.accelerator, reason):
            return reason
        seen = from_all(
            self.accelerator, process_notes.seen(temporary) if self.accelerator.process_index in writers else True
        )
        blind = [process for process, sees in enumerate(seen) if not sees]
        return (
            f"{process_notes.named(blind)}: no {temporary}; all machines need the same output folder"
            if blind
            else None
        )

    def write(self, temporary: Path, facts: Description, made: Iterable[Part], writers: list[int]) -> None:
        """Write this process's files; process 0 waits for the others' and gives the state its name."""
        files: dict[str, dict] = {}
        me = self.accelerator.process_index
        try:
            for part in made:
                files[part.name] = {}  # begun: what there is of it goes where the state is given up
                files[part.name] = part.write(temporary)
            if not self.accelerator.is_main_process:
                process_notes.leave(temporary, me, {"files": files})
                return
            files |= process_notes.gathered(temporary, writers[1:])
            state = states.commit(temporary, facts, files)
            print(f"state saved: {state.path}", flush=True)
        except Exception as error:
            # Whatever it is (a full disk, a folder that is gone): the training is worth more than this state.
            self.give_up(temporary, facts, str(error).partition("\n")[0] or type(error).__name__, files)
            return
        try:
            states.keep_last(self.folder, self.keep, state)
        except OSError as error:
            print(f"an older state cannot be removed: {error}", flush=True)

    def give_up(self, temporary: Path, facts: Description, reason: str, files=()) -> None:
        """Process 0 takes the state away and says why; another one makes room for its note to process 0.

        files: what this process may have written of it.
        """
        if self.accelerator.is_main_process:
            print(f"no state saved at optimizer step {facts.optimizer_steps:,}: {reason}", flush=True)
            states.discard(temporary)
            return
        with suppress(OSError):  # process 0 has given up before, and has said so
            for name in files:
                (temporary / name).unlink(missing_ok=True)
            process_notes.leave(temporary, self.accelerator.process_index, {"error": reason})

    def join(self) -> None:
        """Wait for what this process writes of the state under way."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None

    def join_all(self) -> None:
        """Wait, on every process, until none writes, however slow the disk is: they meet after every turn."""
        while any_process(self.accelerator, self.writes()):
            pass
        self.thread = None

    def writes(self) -> bool:
        """Tell whether this process still does, after at most TURN seconds."""
        if self.thread is not None:
            self.thread.join(TURN)
        return self.thread is not None and self.thread.is_alive()


def require_room_for_all(writer: Writer, one: int) -> None:
    """Refuse, on every process, a disk that does not hold the states that will be kept and one in the making.

    one: bytes that a state will take. Better now than after the first thousand optimizer steps. What a killed run
    has left of a state goes first: it takes as much as one that is kept.
    """
    reason = None
    if writer.accelerator.is_main_process:
        states.remove_left(writer.folder)
        existing = len(states.found(writer.folder)[0])
        missing = max(1, writer.keep + 1 - existing)
        writer.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(writer.folder).free
        if free < missing * one:
            needed = f"{missing} training states take {missing * one / 1e9:.1f} GB"
            reason = (
                f"{writer.folder} has {free / 1e9:.1f} GB free, {needed}; make room, or keep fewer (--keep_states)"
            )
    if reason := from_main(writer.accelerator, reason):
        raise UserError(reason)
