"""Calls git with arguments, never through a shell, and never without an end.

What only reads or builds fetches nothing: in a partial clone, git would ask the network for each object that it
lacks, and of a damaged pack for all of them, one call inside the other. `fetch` is for what is meant to fetch.
"""

import os
import subprocess
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
FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")

SECONDS = 60  # of a call on this machine's disk; the longest takes two
FETCH_SECONDS = 1800  # of one that fetches: 25 MB at 14 kB/s


class NoAnswerError(UserError):
    """Git was ended because it took longer than it may."""


def run(folder: Path, *arguments: str, timeout: float = SECONDS, **options) -> subprocess.CompletedProcess:
    """Return `git -C folder …` with captured text output; the return code is the caller's to read.

    Nothing is fetched. NoAnswerError after `timeout` seconds; UserError where there is no git.
    """
    return _run(LOCAL, folder, arguments, timeout, options)


def fetch(folder: Path, *arguments: str, timeout: float = FETCH_SECONDS) -> subprocess.CompletedProcess:
    """Return the same of a command that may use the network."""
    return _run({}, folder, arguments, timeout, {})


def _run(variables, folder, arguments, timeout, options) -> subprocess.CompletedProcess:
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN} | IDENTITY | variables
    command = ["git", "-C", str(folder), *arguments]
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
    options |= {"encoding": "utf-8", "errors": "backslashreplace"}  # a file in a diff may be in any encoding
    try:
        return subprocess.run(command, env=environment, timeout=timeout, check=False, **options)
    except subprocess.TimeoutExpired:
        raise NoAnswerError(
            f"git {' '.join(arguments[:2])} in {folder.name} did not end within {timeout:g} s"
        ) from None
    except FileNotFoundError:
        raise UserError("git is not installed, or not in PATH; install it (apt install git)") from None


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
