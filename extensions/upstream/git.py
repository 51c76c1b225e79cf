"""Calls git with arguments, never through a shell."""

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
# A caller inside a git hook exports these; they would redirect every command to the wrong repository.
FOREIGN = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX")


def run(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Return `git -C folder …` with captured text output; the return code is the caller's to read."""
    environment = {k: v for k, v in os.environ.items() if k not in FOREIGN} | IDENTITY
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, **options)


def output(folder: Path, *arguments: str, **options) -> str:
    """Standard output of a git command that must succeed. UserError with git's last line if not."""
    done = run(folder, *arguments, **options)
    if done.returncode != 0:
        raise UserError(f"git {' '.join(arguments[:2])} failed in {folder.name}: {reason(done)}")
    return done.stdout.strip()


def reason(done: subprocess.CompletedProcess) -> str:
    """Why a command failed: its first `fatal:` line, else the last line that it said."""
    lines = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()
    return next((line for line in lines if line.startswith("fatal:")), lines[-1])
