"""Fetches the pinned submodule on first use; nobody edits it.

Some copies of upstream's repository (mirrors with a size limit, partial clones) lack a few large files
that no trainer reads, and git then refuses to check anything out. Such a clone is marked as the
partial clone that it is, and the missing files are left out of the work tree; git's own sparse checkout
keeps `git status` clean. Nothing that training needs may be missing: that is checked last.
"""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extensions.base import locks
from extensions.base.errors import UserError
from extensions.base.paths import ROOT, SUBMODULE
from extensions.upstream import git, reading

NEEDED = ("sdxl_train.py", "fine_tune.py", "library/train_util.py", "library/sdxl_train_util.py")
ANSWER = 6  # seconds in which a repository says that it is there: a line of text


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
    submodule, wanted = root / "sd-scripts", pin(root)
    lacking = lacks(root, wanted)
    if lacking:
        fetch(root, lacking)
    with told_how_to_fetch(root):
        if lacking or not is_present(submodule):
            check_out(root, wanted)
        heal(submodule)
        if missing := [name for name in NEEDED if not (submodule / name).is_file()]:
            raise UserError(f"it has no {missing[0]}")
    return submodule


def cloned(root: Path) -> Path | None:
    """Return the submodule, or where git keeps its objects while it has no work tree; None where neither is there."""
    submodule, kept = root / "sd-scripts", root / kept_in(root)
    return submodule if (submodule / ".git").exists() else kept if kept.exists() else None


def kept_in(root: Path) -> str:
    """Return git's folder for the submodule's objects, as git names it from `root`."""
    return git.output(root, "rev-parse", "--git-path", "modules/sd-scripts")


def lacks(root: Path, commit: str) -> str:
    """Return why something must be fetched, in a few words; "" where all that training needs is here.

    UserError for a clone that is damaged: git would fetch for it, and keep what is damaged for ever.
    """
    repository = cloned(root)
    if repository is None:
        return "is empty"
    with told_how_to_fetch(root):
        reading.require_readable(repository)
        if not reading.has_commit(repository, commit):
            reading.require_sound(repository)
            return f"does not hold {commit[:12]}"
        if is_present(root / "sd-scripts"):
            return ""
        missing = reading.missing_paths(repository, commit)
        if is_partial(repository) and any(path.endswith(".py") for path in missing):
            reading.require_sound(repository)
            return "is a partial clone, not all of it here,"
        reading.require_whole(repository, commit)
    return ""


def is_partial(repository: Path) -> bool:
    """Tell whether a repository is marked as a clone that lacks some files."""
    config = str(reading.folder_of(repository) / "config")
    asked = git.run(repository, "config", "--file", config, "--get-regexp", r"^remote\..*\.promisor$")
    return asked.returncode == 0


def fetch(root: Path, lacking: str) -> None:
    """Fetch the submodule, whole. UserError where it cannot be had; `lacking` says what for.

    What git fetches and cannot check out (a copy without its large files) is looked at afterwards.
    """
    try:
        require_answer(root)
        print("fetching the sd-scripts submodule …", file=sys.stderr, flush=True)
        lazily = cloned(root) is not None
        done = git.fetch(root, "submodule", "update", "--init", "sd-scripts", lazily=lazily)
        if lazily and done.returncode == 0 and lacks(root, pin(root)):  # it leaves alone what is at its commit
            done = git.fetch(root / "sd-scripts", "checkout", "-q", "-f", "--detach", pin(root), lazily=True)
    except git.NoAnswerError as error:
        raise UserError(unfetched(lacking, str(error))) from None
    if done.returncode != 0 and (cloned(root) is None or lacks(root, pin(root))):
        raise UserError(unfetched(lacking, git.reason(done)))


def unfetched(lacking: str, why: str) -> str:
    """Return what is said where the submodule is not there and cannot be had."""
    cannot = f"sd-scripts/ {lacking} and could not be fetched ({why})"
    return f"{cannot}; go online once and run: git submodule update --init"


@contextmanager
def told_how_to_fetch(root: Path) -> Iterator[None]:
    """Add to what git says of a damaged clone how to get a new one."""
    try:
        yield
    except UserError as error:
        raise UserError(f"sd-scripts/ is damaged ({error}); {anew(root)}") from None


def anew(root: Path) -> str:
    """Return how to fetch the submodule anew: git itself keeps a damaged clone for ever."""
    return f"fetch it anew: rm -rf sd-scripts {shlex.quote(kept_in(root))} && git submodule update --init"


def require_answer(root: Path) -> None:
    """Raise NoAnswerError where the repository is silent or refuses: a firewall would hold git for minutes."""
    asked = git.run(root, "config", "submodule.sd-scripts.url")
    url = asked.stdout.strip() or git.output(root, "config", "--file", ".gitmodules", "submodule.sd-scripts.url")
    if url.startswith("."):  # beside this repository's own, wherever that was cloned from
        return
    try:
        done = git.fetch(root, "ls-remote", url, "HEAD", timeout=ANSWER)
    except git.NoAnswerError:
        raise git.NoAnswerError(f"no answer within {ANSWER} s") from None
    if done.returncode != 0:
        raise git.NoAnswerError(git.reason(done))


def check_out(root: Path, commit: str) -> None:
    """Give the submodule its work tree, without the files that the copy lacks; nothing is fetched."""
    submodule = root / "sd-scripts"
    done = git.run(root, "submodule", "update", "--init", "sd-scripts")
    if not (submodule / ".git").exists():
        raise UserError(git.reason(done))
    if done.returncode != 0 or not is_present(submodule):
        reading.require_whole(submodule, commit)
        leave_out_missing(submodule, commit)


def heal(submodule: Path) -> None:
    """Finish a checkout that stopped at files this copy lacks (a plain `git submodule update` does)."""
    if git.output(submodule, "ls-files", "--deleted"):
        commit = git.output(submodule, "rev-parse", "HEAD")
        reading.require_whole(submodule, commit)
        leave_out_missing(submodule, commit)


def leave_out_missing(tree: Path, commit: str) -> list[str]:
    """Check `commit` out in `tree` without the files that this copy does not hold; their paths."""
    git.output(tree, "config", "remote.origin.promisor", "true")
    missing = reading.missing_paths(tree, commit)
    git.run(tree, "sparse-checkout", "set", "--no-cone", "--stdin", input=sparse_patterns(missing))
    git.output(tree, "checkout", "--quiet", "--force", "--detach", commit)
    return missing


def sparse_patterns(missing: list[str]) -> str:
    """Sparse-checkout patterns for everything but `missing`."""
    return "\n".join(["/*", *(f"!/{path}" for path in missing)]) + "\n"
