"""Builds the patched tree: a disposable worktree of the submodule with the series applied.

Built once per (commit, series); `git am -3` in a worktree of its own, so that the submodule stays as
upstream left it. A build goes to a stamp file only when it is whole, so an interrupted one is made again.
"""

import hashlib
import shutil
from contextlib import contextmanager
from pathlib import Path

from extensions.base import locks
from extensions.base.errors import UserError
from extensions.base.paths import PATCHED, PATCHES, RUNTIME
from extensions.upstream import git, reading, submodule

# One context line keeps upstream's text out of our patches; the rest makes an export repeatable.
EXPORT = (
    "--full-index",
    "--zero-commit",
    "--no-signature",
    "--no-stat",
    "--keep-subject",
    "--no-numbered",
    "-U1",
)


def series(patches: Path = PATCHES) -> list[Path]:
    """Return the patches, in the order of `patches/series`. UserError for a listed file that is not there."""
    names = [line.strip() for line in (patches / "series").read_text(encoding="utf-8").splitlines()]
    found = [patches / name for name in names if name and not name.startswith("#")]
    for patch in found:
        if not patch.is_file():
            raise UserError(f"patches/series lists {patch.name}, which is not in patches/")
    return found


def series_hash(patches: Path = PATCHES) -> str:
    """sha256 over names and contents of the series: what a record cites."""
    digest = hashlib.sha256()
    for patch in series(patches):
        digest.update(patch.name.encode() + b"\0" + patch.read_bytes() + b"\0")
    return digest.hexdigest()


def ensure(reference: str | None = None) -> Path:
    """Return the patched tree of the pin, or of another upstream commit; built only when something changed.

    UserError when the submodule cannot be had, `reference` is unknown, or a patch does not apply.
    """
    source = submodule.ensure()
    commit = resolve(source, reference) if reference else submodule.pin()
    tree = location(commit if reference else None)
    wanted = stamp_text(commit)
    with building(tree) as stamp:
        if not is_current(tree, stamp, wanted):
            stamp.unlink(missing_ok=True)
            try:
                build(source, tree, commit)
            except UserError:
                remove_worktree(source, tree)
                raise
            stamp.write_text(wanted)
    return tree


def location(commit: str | None) -> Path:
    """Return where the patched tree of a commit stands; of the pin, for None."""
    return PATCHED.with_name(f"patched-{commit[:12]}") if commit else PATCHED


def stamp_text(commit: str) -> str:
    """Return what a tree was built from."""
    return f"{commit} {series_hash()}\n"


def mark_current() -> None:
    """Mark the tree as current: the series was just exported from it."""
    with building(PATCHED) as stamp:
        stamp.write_text(stamp_text(submodule.pin()))


def is_current(tree: Path, stamp: Path, wanted: str) -> bool:
    """Tell whether the tree was built from this commit and series, and git still knows it as a worktree."""
    if not (stamp.is_file() and stamp.read_text() == wanted):
        return False
    return git.run(tree, "rev-parse", "--verify", "HEAD").returncode == 0


def resolve(source: Path, reference: str) -> str:
    """Return the commit that a tag, branch or hash means in the submodule."""
    if commit := reading.commit_of(source, reference, f"origin/{reference}"):
        return commit
    raise UserError(
        f"sd-scripts has no commit {reference!r}; give a tag, branch or hash (git -C sd-scripts tag lists tags)"
    )


@contextmanager
def building(tree: Path):
    """Hold the tree's lock (several launches at once build it once); gives the stamp's path."""
    RUNTIME.mkdir(exist_ok=True)
    with locks.held(tree.with_suffix(".lock")):
        yield tree.with_suffix(".stamp")


def build(source: Path, tree: Path, commit: str) -> None:
    """Make `tree` anew: `commit` of upstream with the whole series applied."""
    fresh_worktree(source, tree, commit)
    for patch in series():
        apply(tree, patch, commit)


def fresh_worktree(source: Path, tree: Path, commit: str) -> None:
    """Make a clean worktree of the submodule at `commit`, whatever stood there before."""
    remove_worktree(source, tree)
    with submodule.told_how_to_fetch(source.parent):
        missing = reading.require_whole(source, commit)
    git.output(source, "worktree", "add", "--force", "--no-checkout", "--detach", str(tree), commit)
    if missing or submodule.is_partial(source):
        submodule.leave_out_missing(tree, commit)
    else:
        git.output(tree, "reset", "--hard")


def remove_worktree(source: Path, tree: Path) -> None:
    """Take a worktree away, also a half-made one or one that was moved with the repository."""
    shutil.rmtree(tree, ignore_errors=True)
    git.output(source, "worktree", "prune")


def apply(tree: Path, patch: Path, commit: str) -> str:
    """Apply one patch with a 3-way merge: "clean" or "3-way". UserError when it no longer applies."""
    clean = git.run(tree, "apply", "--check", str(patch)).returncode == 0
    done = git.run(tree, "am", "--3way", "--keep-non-patch", "--committer-date-is-author-date", str(patch))
    if done.returncode != 0:
        git.run(tree, "am", "--abort")
        where = f"sd-scripts {commit[:12]}"
        raise UserError(f"{patch.name} does not apply to {where}; see: make port-patches UPSTREAM={commit[:12]}")
    return "clean" if clean else "3-way"


def export(tree: Path, base: str) -> list[tuple[str, bytes]]:
    """Return the commits of a patched tree as (file name, bytes), as `patches/` keeps them."""
    commits = git.output(tree, "rev-list", "--reverse", f"{base}..HEAD").split()
    exported = []
    for number, commit in enumerate(commits, start=1):
        text = git.text(tree, "format-patch", "-1", "--stdout", *EXPORT, commit)
        exported.append((file_name(tree, number, commit), text.encode()))
    return exported


def file_name(tree: Path, number: int, commit: str) -> str:
    """Return `0001-subject-of-the-commit.patch`, as git names it."""
    slug = git.output(tree, "log", "-1", "--format=%f", commit)
    return f"{number:04d}-{slug[:60]}.patch"
