"""Calls git with arguments, never through a shell, and never without an end: the one place that does.

What only reads or builds fetches nothing: in a partial clone, git would ask the network for each object that it
lacks, and of a damaged pack for all of them, one call inside the other. `fetch` is for what is meant to fetch.
"""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

from extensions.base.errors import UserError

# Commits that we make in the disposable worktree must not depend on the user's identity or hooks.
IDENTITY = {
    "GIT_AUTHOR_NAME": "patches",
    "GIT_AUTHOR_EMAIL": "patches@localhost",
    "GIT_COMMITTER_NAME": "patches",
    "GIT_COMMITTER_EMAIL": "patches@localhost",
    "GIT_COMMITTER_DATE": "2025-01-01T00:00:00Z",
    "GIT_TERMINAL_PROMPT": "0",
    "LC_ALL": "C",
}
# The second is for git before 2.39.4, which does not know the first: it then may fetch by no protocol.
LOCAL = {"GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}
# A caller inside a git hook exports these; they would redirect every command to the wrong repository.
FOREIGN = (
    "GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_COMMON_DIR", "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
)  # fmt: skip

SECONDS = 60  # of a call on this machine's disk; the longest takes two
FETCH_SECONDS = 1800  # of one that fetches: 25 MB at 14 kB/s
GRACE = 2  # seconds in which git takes away its locks and what is half fetched


class NoAnswerError(UserError):
    """Git was ended because it took longer than it may."""


def run(
    folder: Path, *arguments: str, timeout: float = SECONDS, variables: dict[str, str] | None = None, **options
) -> subprocess.CompletedProcess:
    """Return `git -C folder …` with captured text output; the return code is the caller's to read.

    Nothing is fetched. variables: of its environment, over ours. NoAnswerError after `timeout` seconds; UserError
    where there is no git.
    """
    return _run(LOCAL | (variables or {}), folder, arguments, timeout, options)


def fetch(folder: Path, *arguments: str, lazily: bool = False, timeout: float = FETCH_SECONDS):
    """Return the same of a command that may use the network.

    lazily: also for each object that turns out to be lacking; of a sound partial clone alone.
    """
    return _run({"GIT_NO_LAZY_FETCH": "0" if lazily else "1"}, folder, arguments, timeout, {})


def _run(variables, folder, arguments, timeout, options) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN} | IDENTITY | variables
    command = ["git", "-C", str(folder), *arguments]
    given = options.pop("input", None)
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    options["stdin"] = subprocess.DEVNULL if given is None else subprocess.PIPE
    options |= {"encoding": "utf-8", "errors": "backslashreplace"}  # a file in a diff may be in any encoding
    try:
        process = subprocess.Popen(command, env=environment, start_new_session=True, **options)
    except FileNotFoundError:
        raise UserError("git is not installed, or not in PATH; install it (apt install git)") from None
    try:
        said, errors = process.communicate(given, timeout)
    except subprocess.TimeoutExpired:
        raise NoAnswerError(
            f"git {' '.join(arguments[:2])} in {folder.name} did not end within {timeout:g} s"
        ) from None
    finally:  # for Ctrl-C, too, which reaches us alone
        if process.poll() is None:
            end(process)
    return subprocess.CompletedProcess(command, process.returncode, said, errors)


def end(process: subprocess.Popen) -> None:
    """End git and all that it has started: whoever fetches for it would go on fetching without it."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + GRACE
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
            while time.monotonic() < until:
                process.poll()
                os.killpg(process.pid, 0)  # raises once none is left
                time.sleep(0.02)
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()


def output(folder: Path, *arguments: str, **options) -> str:
    """Standard output of a git command that must succeed. UserError with git's last line if not."""
    return text(folder, *arguments, **options).strip()


def text(folder: Path, *arguments: str, **options) -> str:
    """Return the same with the blanks at its ends."""
    done = run(folder, *arguments, **options)
    if done.returncode != 0:
        raise UserError(f"git {' '.join(arguments[:2])} failed in {folder.name}: {reason(done)}")
    return done.stdout


def reason(done: subprocess.CompletedProcess) -> str:
    """Why a command failed: its first `fatal:` line, else the last line that it said."""
    lines = (done.stderr.strip() or (done.stdout or "").strip() or "no message").splitlines()
    return next((line for line in lines if line.startswith("fatal:")), lines[-1])
