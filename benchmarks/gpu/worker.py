"""Runs stages in a process of their own, and ends it when their time is up: a crash takes nothing else along."""

import multiprocessing
import os
import signal
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from benchmarks.gpu.setting import LeftOutError, Setting, free, is_out_of_memory
from benchmarks.gpu.stages import Stage
from extensions.base.errors import UserError

PASSED, FAILED, SKIPPED, LATE, NO_MEMORY = "passed", "failed", "skipped", "out of time", "out of memory"
KEPT = "what it had measured by then stands"
LOGGED = 2000  # characters of a log's end that a report keeps


class Worker:
    """One process, which is started for the first stage and again after it has ended. environment: its variables."""

    def __init__(self, device: str, tiny: bool, work: Path):
        self.device, self.tiny, self.work = device, tiny, work
        self.process, self.pipe = None, None

    def run(self, stage: Stage, seconds: float) -> dict:
        """Run a stage for at most so many seconds; {"outcome", "why", "seconds", "figures", "checks"}."""
        if stage.is_alone(self.tiny) or self.process is None:
            self.end()
            self.begin()
        began = time.time()
        found = {"outcome": FAILED, "why": "", "seconds": 0.0, "figures": {}, "checks": {}}
        try:
            self.pipe.send((stage, began + seconds))
            self.listen(found, began + seconds)
        except (EOFError, OSError):
            self.process.join(5)
            code = self.process.exitcode
            found["why"] = f"its process ended with {signal_of(code)}; {self.log_end()}"
            self.end()
        found["seconds"] = time.time() - began
        if found["outcome"] == PASSED and not all(found["checks"].values()):
            failed = [name for name, passed in found["checks"].items() if not passed]
            found |= {"outcome": FAILED, "why": f"not so: {'; '.join(failed)}"}
        if stage.is_alone(self.tiny) or found["outcome"] in (FAILED, NO_MEMORY):
            self.end()
        return found

    def listen(self, found: dict, until: float) -> None:
        """Take what the stage puts until it has ended or its time is up. EOFError where its process dies."""
        while self.pipe.poll(max(0.0, until - time.time())):
            kind, *words = self.pipe.recv()
            if kind == "end":
                found["outcome"], found["why"] = words
                return
            found["figures" if kind == "put" else "checks"][words[0]] = words[1]
        found |= {"outcome": LATE, "why": KEPT}
        self.end(patience=0)

    def begin(self) -> None:
        """Start the process. A fresh interpreter: nothing of CUDA outlives a fork."""
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        words = (other, self.device, self.tiny, self.work)
        self.process = context.Process(target=serve, args=words)
        self.process.start()
        other.close()

    def end(self, patience: float = 10) -> None:
        """End the process and all that it has started, by force after so many seconds."""
        if self.process is None:
            return
        self.pipe.close()  # at which it ends by itself
        self.process.join(patience)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.kill()
        self.process.join()
        self.process = self.pipe = None

    def log_end(self) -> str:
        """The end of what the process wrote."""
        path = self.work / "stages.log"
        return path.read_text(encoding="utf-8", errors="replace").strip()[-LOGGED:] if path.is_file() else ""


def signal_of(code: int | None) -> str:
    """Say an exit code in words."""
    return signal.Signals(-code).name if code is not None and code < 0 else f"exit code {code}"


def serve(pipe, device: str, tiny: bool, work: Path) -> None:
    """Run each stage that the pipe asks for, in this process, what it prints in a log."""
    os.setpgid(0, 0)  # a group of its own: what it starts is ended with it
    log = os.open(work / "stages.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(log, descriptor)
    while True:
        try:
            stage, until = pipe.recv()
        except EOFError:
            return
        put, check = (lambda *words, kind=kind: pipe.send((kind, *words)) for kind in ("put", "check"))
        setting = Setting(device, tiny, work, until, put, check)
        outcome = ended(stage, setting)
        if "torch" in sys.modules:
            free(setting)
        pipe.send(("end", *outcome))


def ended(stage: Stage, setting: Setting) -> tuple[str, str]:
    """Run a stage; its outcome and why."""
    try:
        stage.run(setting)
    except LeftOutError as reason:
        return SKIPPED, str(reason)
    except UserError as error:
        return FAILED, str(error)
    except Exception as error:
        traceback.print_exc()
        sys.stderr.flush()
        said = f"{type(error).__name__}: {error}"[:LOGGED]
        return (NO_MEMORY if "torch" in sys.modules and is_out_of_memory(error) else FAILED), said
    return PASSED, ""
