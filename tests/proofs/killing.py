"""A run that is killed and started again: how the moment of a kill is waited for, and what of the run it takes."""

import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil
import xxhash

from extensions.base import saving
from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.resume import states

RUN = "24120801"
CHECKPOINTS = 4  # optimizer steps between them; a state is saved at each
STARTING, TRAINING, SAVING, CHECKPOINT, ALONE = (
    "while it starts", "while it trains", "in a training state", "in a checkpoint", "one process alone",
)  # fmt: skip
KINDS = {STARTING: 8.0, TRAINING: 1.5, SAVING: 0.05, CHECKPOINT: 0.03, ALONE: 1.5}  # {kind: longest delay, seconds}
COMPLETE = "it is complete"  # what RESUME=auto says of a run that has come to its end
LONGEST = 600  # seconds that anything here may take on a busy machine


class Wrong(Exception):
    """A kill was not survived."""


@dataclass(frozen=True)
class Kill:
    """kind: one of KINDS. delay: seconds behind its moment. rank: which process, where it is one alone."""

    kind: str
    delay: float
    rank: int


def drawn(key: str, processes: int) -> Kill:
    """Draw a kill: a function of the key alone."""
    draw = random.Random(key)
    kind = draw.choice([kind for kind in KINDS if kind != ALONE or processes > 1])
    return Kill(kind, draw.uniform(0, KINDS[kind]), draw.randrange(processes))


class KilledRun:
    """A tiny run in a folder of its own, started as a user does, as often as it must be.

    steps: optimizer steps. keep: how many of the newest states stay. more: flags.
    """

    def __init__(self, folder: Path, trainer: str, processes: int, steps: int, keep: int = 2, more: str = ""):
        folder.mkdir(parents=True)
        self.folder, self.said = folder, folder / "said.log"
        self.output = folder / f"model_out_{RUN}"
        self.states = states.folder_of(self.output)
        flags = f"--states_every_n_steps=1 --keep_states={keep} --save_every_n_steps={CHECKPOINTS} {more}"
        self.environment = os.environ | {
            "OUTPUT": str(folder), "LOGS": str(folder / "logs"), "RESUME": "auto", "PROFILE": "tiny", "ARGS": flags,
            "TRAINER": trainer, "TINY_STEPS": str(steps), "GPUS": str(processes),
        }  # fmt: skip

    def start(self) -> None:
        self.begun_at = self.newest_name()
        with open(self.said, "ab") as said:
            self.process = subprocess.Popen(
                [LAUNCHERS / f"{RUN}.sh"], env=self.environment, stdout=said, stderr=said, start_new_session=True
            )

    def newest_name(self) -> str:
        """The newest state's; empty without one."""
        return max((path.name for path in self.states.glob("step*")), default="")

    def wait_for(self, kill: Kill) -> bool:
        """Wait for the moment of a kill; False where the run has ended before."""
        moments: dict[str, Callable[[], bool]] = {
            STARTING: lambda: True,
            SAVING: lambda: any(self.states.glob(".step*.part/*.safetensors")),
            CHECKPOINT: lambda: any((self.output / saving.UNDER_WAY).glob("*")),
        }
        come = self.wait(moments.get(kill.kind, lambda: self.newest_name() > self.begun_at))
        time.sleep(kill.delay if come else 0)
        return self.process.poll() is None

    def wait(self, moment: Callable[[], bool]) -> bool:
        """Whether a moment has come while the run was under way."""
        until = time.monotonic() + LONGEST
        while not moment():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > until:
                raise Wrong(f"it stands still: {self.last_words()}")
            time.sleep(0.001)
        return True

    def take(self, kill: Kill) -> str:
        """Kill, and return the name of the newest state before. Wrong: that state is gone, or a process is left."""
        before = self.newest_name()
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        ranks = trainers_in(family) if kill.kind == ALONE else {}
        for process in [ranks[kill.rank]] if kill.rank in ranks else family:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        try:
            code = self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            raise Wrong(f"the launcher waits on after one process was killed: {self.last_words()}") from None
        if not code:
            raise Wrong("the launcher says that all is well after a kill")
        if alive := psutil.wait_procs(family, timeout=60)[1]:
            raise Wrong(f"left running: {', '.join(str(process) for process in alive)}")
        if self.newest_name() < before:
            raise Wrong(f"{self.states / before} is gone")
        return before

    def next_state(self, before: str) -> states.State:
        """Wait for a state behind the one of that name, or for the end of the run, and return the newest."""
        if not self.wait(lambda: self.newest_name() > before):
            self.finish()
        return self.newest()

    def newest(self) -> states.State:
        """Return the newest state. One may be taken away while it is read: then there is a newer one."""
        for _ in range(100):
            try:
                return states.read(self.states / self.newest_name())
            except UserError:
                time.sleep(0.01)
        raise Wrong(f"{self.states / self.newest_name()} cannot be read")

    def finish(self) -> None:
        """Wait for the end. Wrong: it failed, had to pass over a damaged state, or has left half a file.

        A run that was killed when all was written is refused: there is nothing to go on with.
        """
        if self.process.wait(LONGEST) and COMPLETE not in self.last_words():
            raise Wrong(f"it ended with {self.process.returncode}: {self.last_words()}")
        if "passed over: " in self.said.read_text(errors="replace"):
            raise Wrong(f"a state was damaged, see {self.said}")
        if left := [
            path.name for path in (*self.output.glob(".*"), *self.states.glob(".*")) if path.suffix == ".part"
        ]:
            raise Wrong(f"left in {self.output}: {', '.join(left)}")

    def last_words(self) -> str:
        return self.said.read_text(errors="replace")[-500:]


def trainers_in(family: list[psutil.Process]) -> dict[int, psutil.Process]:
    """{rank: the trainer's process}: the first in each line of descent that torchrun has given a rank."""
    found, ranked = {}, set()
    for process in family:  # parents before their children
        try:
            rank = process.environ().get("RANK")
            if rank is not None and process.ppid() not in ranked:
                found[int(rank)] = process
            if rank is not None:
                ranked.add(process.pid)
        except psutil.Error:
            continue
    return found


def tensors_of(output: Path) -> dict[str, str]:
    """{checkpoint's name: digest of all its tensors}: without the metadata, which tell the time."""
    return {path.name: digest_of_tensors(path) for path in sorted(output.glob("*.safetensors"))}


def digest_of_tensors(path: Path) -> str:
    """xxh3-128 of a safetensors file's names, dtypes, shapes and values."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        digest = xxhash.xxh3_128(json.dumps(header, sort_keys=True).encode())
        while block := file.read(1 << 24):
            digest.update(block)
    return digest.hexdigest()
