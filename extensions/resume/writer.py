"""Writing a training state while the training goes on.

The values are copied to memory at the end of an optimizer step and written by a thread. Where memory does not hold
the copies (a U-Net in fp32 with its optimizer takes some 20 GB), one file after the other is copied and written
before the training goes on. The description is written last, by process 0, when every process's files are there:
threads cannot use the collectives that the training is using, so they meet in the folder.
"""

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from extensions.errors import UserError
from extensions.processes import from_main
from extensions.resume import states
from extensions.resume.parts import Part, size_of

SHARE_OF_MEMORY = 0.8  # of what is free, that copies may take
PATIENCE = 3600  # seconds that process 0 waits for the others' files
NOTE = "process-{}.json"


_writers: list["Writer"] = []


def settle() -> None:
    """Wait until the state under way in this process, if any, has its name."""
    for writer in _writers:
        writer.join()


class Writer:
    """Writes states to `folder`, at most one at a time, and keeps the newest `keep`.

    accelerator: of the run; every process has a writer and calls `save` together with the others.
    """

    def __init__(self, folder: Path, keep: int, accelerator):
        self.folder, self.keep, self.accelerator = folder, keep, accelerator
        self.thread: threading.Thread | None = None
        self.error: str | None = None
        _writers[:] = [self]

    def save(self, facts: dict, values: list[tuple[str, Callable]], writers: list[int], wait: bool = False) -> None:
        """Save a state. What goes wrong is told, and the run goes on with the states that it has.

        facts: of the description, the same on every process. values: (file name, function giving the value) of
        this process; writers: the processes that have any. wait: come back when the state has its name.
        """
        self.join()
        steps = facts["optimizer_steps"]
        temporary = self.folder / f".{states.name_of(steps)}.part"
        needed = sum(size_of(value()) for _, value in values)
        if not self.begin(steps, needed):
            return
        if self.accelerator.process_index not in writers:
            return
        made = (Part(name, value()) for name, value in values)  # each is copied when it is asked for
        background = needed < SHARE_OF_MEMORY * psutil.virtual_memory().available / len(writers)
        if background:
            made = list(made)
        self.thread = threading.Thread(target=self.write, args=(temporary, facts, made, writers), daemon=False)
        self.thread.start()
        if wait or not background:
            self.join()

    def begin(self, steps: int, needed: int) -> bool:
        """Make the folder on process 0, if the disk has room; whether it was made."""
        reason = None
        if self.accelerator.is_main_process:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                require_room(self.folder, needed)
                states.begin(self.folder, steps)
            except (UserError, OSError) as error:
                reason = str(error)
        reason = from_main(self.accelerator, reason)
        if reason and self.accelerator.is_main_process:
            print(f"no state saved at optimizer step {steps:,}: {reason}", flush=True)
        return not reason

    def write(self, temporary: Path, facts: dict, made, writers: list[int]) -> None:
        """Write this process's files; process 0 waits for the others' and gives the state its name."""
        try:
            files = {part.name: part.write(temporary) for part in made}
            if not self.accelerator.is_main_process:
                note = temporary / f".{NOTE.format(self.accelerator.process_index)}"
                note.write_text(json.dumps(files), encoding="utf-8")
                note.rename(note.with_name(note.name[1:]))
                return
            for process in writers[1:]:
                files |= taken(temporary / NOTE.format(process))
            state = states.commit(temporary, facts, files)
            states.keep_last(self.folder, self.keep)
            print(f"state saved: {state.path}", flush=True)
        except Exception as error:
            # Whatever it is (a full disk, a folder that is gone): the training is worth more than this state.
            self.error = f"no state saved at optimizer step {facts['optimizer_steps']:,}: {error}"
            shutil.rmtree(temporary, ignore_errors=True)

    def join(self) -> None:
        """Wait for the state under way; tell what went wrong with it."""
        if self.thread is not None:
            self.thread.join()
            self.thread = None
        if self.error:
            print(self.error, flush=True)
            self.error = None


def require_room(folder: Path, needed: int) -> None:
    """UserError where the disk has less than `needed` bytes, and a tenth more, free."""
    free = shutil.disk_usage(folder).free
    if free < 1.1 * needed:
        raise UserError(f"{folder} has {free / 1e9:.1f} GB free, a state takes {needed / 1e9:.1f} GB; make room")


def require_room_for_all(writer: Writer, one: int) -> None:
    """UserError, on every process, where the disk does not hold the states that will be kept and one in the making.

    one: bytes that a state will take. Better now than after the first thousand optimizer steps.
    """
    reason = None
    if writer.accelerator.is_main_process:
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


def taken(note: Path) -> dict[str, dict]:
    """What another process says it has written. UserError when it does not come."""
    until = time.monotonic() + PATIENCE
    while not note.is_file():
        if time.monotonic() > until:
            raise UserError(f"{note.stem} has not written its files; all machines need the same output folder")
        time.sleep(0.05)
    found = json.loads(note.read_text(encoding="utf-8"))
    note.unlink()
    return found
