"""Reads the objects of a repository, and asks nobody for what it lacks.

A clone that is marked as partial asks the network for each object that it lacks. Told not to, git 2.39 still looks
through all that the pack promises, and where the pack is damaged it looks again for each object of it: one `cat-file`
does not end. Seen through a folder that holds the same objects and refs, and not that mark, it is a repository like
any other: what it lacks is missing, and what is damaged an error, at once. Nothing is written in it.
"""

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from extensions.base.errors import UserError
from extensions.upstream import git

SHOWN = ("objects", "refs", "packed-refs", "shallow")
CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
READ = (
    "pack-objects",
    "--stdout",
    "-q",
    "--missing=allow-any",
    "--no-reuse-delta",
    "--no-reuse-object",
    "--window=0",
)


@contextmanager
def seen(repository: Path) -> Iterator[Path]:
    """Give a folder in which git reads a repository (work tree, worktree or bare). UserError where there is none."""
    common = folder_of(repository)
    try:
        folder = Path(tempfile.mkdtemp(prefix="sd-scripts-"))
    except OSError as error:
        raise UserError(f"{tempfile.gettempdir()} takes no folder ({error.strerror}); make room there") from None
    try:
        for name in SHOWN:
            if (common / name).exists():
                (folder / name).symlink_to(common / name)
        (folder / "HEAD").write_bytes((common / "HEAD").read_bytes())
        (folder / "config").write_text(CONFIG, encoding="utf-8")
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)  # of a link, the link


def folder_of(repository: Path) -> Path:
    """Return the folder with a repository's objects and refs. UserError where it is no repository."""
    if (repository / ".git").exists():
        return repository / git.output(repository, "rev-parse", "--git-common-dir")
    if (repository / "objects").is_dir() and (repository / "HEAD").is_file():
        return repository
    raise UserError(f"{repository.name} is no git repository")


def require_readable(repository: Path) -> None:
    """Raise UserError where the commit that is checked out cannot be read: no fetching mends that."""
    with seen(repository) as folder:
        done = git.run(folder, "cat-file", "-e", "HEAD^{commit}")
    if done.returncode != 0:
        raise UserError(f"its commit cannot be read: {git.reason(done)}")


def has_commit(repository: Path, commit: str) -> bool:
    """Tell whether the repository holds this commit."""
    return commit_of(repository, commit) is not None


def commit_of(repository: Path, *names: str) -> str | None:
    """Return the commit (40 hex digits) that the first of these names means: a tag, branch or hash; None for none."""
    with seen(repository) as folder:
        for name in names:
            done = git.run(folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
            if done.returncode == 0:
                return done.stdout.strip()
    return None


def missing_paths(repository: Path, commit: str) -> list[str]:
    """Return files of `commit` whose content the repository does not hold."""
    with seen(repository) as folder:
        return _missing(folder, listed(folder, commit), commit)


def listed(folder: Path, commit: str) -> list[str]:
    """Return a line an object of `commit`; it begins with `?` where the object is missing."""
    return git.output(folder, "rev-list", "--objects", "--no-walk", "--missing=print", commit).splitlines()


def _missing(folder: Path, objects: list[str], commit: str) -> list[str]:
    absent = {line[1:] for line in objects if line.startswith("?")}
    entries = git.output(folder, "ls-tree", "-r", commit).splitlines() if absent else []
    split = (entry.split("\t", 1) for entry in entries)
    return [path for facts, path in split if facts.split()[2] in absent]


def require_whole(repository: Path, commit: str) -> list[str]:
    """Read every file of `commit`; the paths of those that this copy does not hold, none of them a program.

    UserError for what cannot be read. To pack all anew, to nowhere, is git's way to read without writing.
    """
    with seen(repository) as folder:
        objects = listed(folder, commit)
        missing = _missing(folder, objects, commit)
        if programs := [path for path in missing if path.endswith(".py")]:
            raise UserError(f"it has no {programs[0]}")
        held = [line.split()[0] for line in objects if not line.startswith("?")]
        read = git.run(folder, *READ, input="\n".join(held), stdout=subprocess.DEVNULL)
    if read.returncode != 0:
        raise UserError(git.reason(read))
    return missing


def require_sound(repository: Path) -> None:
    """Read all packs before something is fetched: git would fetch for what is damaged. UserError for such."""
    with seen(repository) as folder:
        packs = sorted(map(str, (folder / "objects" / "pack").glob("*.idx")))
        done = git.run(folder, "verify-pack", "--", *packs)
    if packs and done.returncode != 0:
        raise UserError(git.reason(done))
