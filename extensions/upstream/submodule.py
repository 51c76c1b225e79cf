"""Fetches the pinned submodule on first use; nobody edits it.

Some copies of upstream's repository (mirrors with a size limit, partial clones) lack a few large files
that no trainer reads, and git then refuses to check anything out. Such a clone is marked as the
partial clone that it is, and the missing files are left out of the work tree; git's own sparse checkout
keeps `git status` clean. Nothing that training needs may be missing: that is checked last.
"""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extensions.base import locks
from extensions.base.errors import UserError
from extensions.base.paths import ROOT, SUBMODULE
from extensions.upstream import git

NEEDED = ("sdxl_train.py", "fine_tune.py", "library/train_util.py", "library/sdxl_train_util.py")
READ = (
    "pack-objects",
    "--stdout",
    "-q",
    "--missing=allow-any",
    "--no-reuse-delta",
    "--no-reuse-object",
    "--window=0",
)

SECONDS = 60


def pin(root: Path = ROOT) -> str:
    """Return the commit that this repository records for the submodule (40 hex digits)."""
    return git.output(root, "rev-parse", ":sd-scripts")


def is_present(submodule: Path = SUBMODULE) -> bool:
    """Tell whether the submodule has a work tree (of whatever commit)."""
    return (submodule / ".git").exists() and all((submodule / name).is_file() for name in NEEDED)


def ensure(root: Path = ROOT) -> Path:
    """Return the submodule at the pin, fetched if need be. UserError where it cannot be had.

    Two launches at once (or two test workers) fetch it once: git itself fails where another git holds its index.
    """
    with locks.held(root / git.output(root, "rev-parse", "--git-path", "sd-scripts.lock")):
        return _ensure(root)


def _ensure(root: Path) -> Path:
    submodule = root / "sd-scripts"
    wanted = pin(root)
    with told_how_to_fetch(root):
        require_readable(submodule)
        if is_present(submodule) and has_commit(submodule, wanted):
            heal(submodule)
            return submodule
    print("fetching the sd-scripts submodule …", file=sys.stderr, flush=True)
    require_answer(root)
    update(root, wanted)
    missing = [name for name in NEEDED if not (submodule / name).is_file()]
    if missing:
        raise UserError(f"sd-scripts/ is damaged: it has no {missing[0]}; {anew(root)}")
    return submodule


def require_readable(submodule: Path) -> None:
    """Raise UserError where there is a clone whose own commit cannot be read: no fetching mends that."""
    if (submodule / ".git").exists():
        git.output(submodule, "cat-file", "-e", "HEAD^{commit}")


def update(root: Path, commit: str) -> None:
    """Fetch the pin and check it out, without the files that the copy lacks. UserError where it cannot be had."""
    submodule = root / "sd-scripts"
    try:
        done = git.fetch(root, "submodule", "update", "--init", "sd-scripts")
    except git.NoAnswerError as error:
        raise UserError(unfetched(str(error))) from None
    if done.returncode == 0:
        return
    if not (submodule / ".git").exists():
        raise UserError(unfetched(git.reason(done)))
    if not has_commit(submodule, commit):  # a clone that was killed, or whose pack is damaged
        raise UserError(f"sd-scripts/ is damaged or half cloned ({git.reason(done)}); {anew(root)}")
    with told_how_to_fetch(root):
        require_whole(submodule, commit)
        leave_out_missing(submodule, commit)


def unfetched(why: str) -> str:
    """Return what is said where the submodule is not there and cannot be had."""
    return (
        f"sd-scripts/ is empty and could not be fetched ({why}); go online once and run: git submodule update --init"
    )


@contextmanager
def told_how_to_fetch(root: Path) -> Iterator[None]:
    """Add to what git says of a damaged clone how to get a new one."""
    try:
        yield
    except UserError as error:
        raise UserError(f"sd-scripts/ is damaged ({error}); {anew(root)}") from None


def anew(root: Path) -> str:
    """Return how to fetch the submodule anew: git itself keeps a damaged clone for ever."""
    kept = git.output(root, "rev-parse", "--git-path", "modules/sd-scripts")
    return f"fetch it anew: rm -rf sd-scripts {shlex.quote(kept)} && git submodule update --init"


def require_answer(root: Path) -> None:
    """Raise UserError where the repository neither answers nor refuses: a firewall would hold git for minutes."""
    url = git.output(root, "config", "--file", ".gitmodules", "submodule.sd-scripts.url")
    try:
        git.fetch(root, "ls-remote", url, "HEAD", timeout=SECONDS)
    except git.NoAnswerError:
        raise UserError(unfetched(f"no answer within {SECONDS} s")) from None


def heal(submodule: Path) -> None:
    """Finish a checkout that stopped at files this copy lacks (a plain `git submodule update` does)."""
    if git.output(submodule, "ls-files", "--deleted"):
        commit = git.output(submodule, "rev-parse", "HEAD")
        require_whole(submodule, commit)
        leave_out_missing(submodule, commit)


def has_commit(repository: Path, commit: str) -> bool:
    """Tell whether the repository holds this commit."""
    return git.run(repository, "cat-file", "-e", f"{commit}^{{commit}}").returncode == 0


def require_whole(repository: Path, commit: str) -> list[str]:
    """Read every file of `commit`; the paths of those that this copy does not hold, none of them a program.

    UserError for what cannot be read. Before a checkout: in what is marked as a partial clone git asks for a damaged
    object without end. To pack all anew, to nowhere, is its way to read without asking.
    """
    missing = missing_paths(repository, commit)
    programs = [path for path in missing if path.endswith(".py")]
    if programs:
        raise UserError(f"it has no {programs[0]}")
    listed = git.output(repository, "rev-list", "--objects", "--no-walk", "--missing=print", commit)
    held = [line.split()[0] for line in listed.splitlines() if not line.startswith("?")]
    read = git.run(repository, *READ, input="\n".join(held), stdout=subprocess.DEVNULL)
    if read.returncode != 0:
        raise UserError(git.reason(read))
    return missing


def leave_out_missing(tree: Path, commit: str) -> list[str]:
    """Check `commit` out in `tree` without the files that this copy does not hold; their paths."""
    git.output(tree, "config", "remote.origin.promisor", "true")
    missing = missing_paths(tree, commit)
    git.run(tree, "sparse-checkout", "set", "--no-cone", "--stdin", input=sparse_patterns(missing))
    git.output(tree, "checkout", "--quiet", "--force", "--detach", commit)
    return missing


def missing_paths(repository: Path, commit: str) -> list[str]:
    """Return files of `commit` whose content the repository does not hold."""
    listed = git.output(repository, "rev-list", "--objects", "--no-walk", "--missing=print", commit)
    absent = {line[1:] for line in listed.splitlines() if line.startswith("?")}
    entries = git.output(repository, "ls-tree", "-r", commit).splitlines() if absent else []
    split = (entry.split("\t", 1) for entry in entries)
    return [path for facts, path in split if facts.split()[2] in absent]


def sparse_patterns(missing: list[str]) -> str:
    """Sparse-checkout patterns for everything but `missing`."""
    return "\n".join(["/*", *(f"!/{path}" for path in missing)]) + "\n"
