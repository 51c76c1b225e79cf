"""Moves the pin of sd-scripts in a branch of its own: to a commit, or to a page of what stands against it.

python -m extensions.upstream.upgrade REF

The series is put on the new commit and exported again, the seams are looked for, a tiny run and `make parity` made.
Where all of it goes well there is a commit on the branch; else the repository is as it was, and the page says why.
"""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.paths import PATCHES, ROOT, RUNTIME, SUBMODULE
from extensions.base.reporting import exit_with
from extensions.base.saving import write_text
from extensions.upstream import eras, git, reading, submodule, tree

PARITY = ("-m", "tests.proofs.parity")
SECONDS = 7200  # of it, at the most


class StopError(Exception):
    """What stands against an upgrade, for the page."""


def upgrade(reference: str) -> str:
    """Move the pin to what `reference` means; what is said at the end. UserError where that cannot begin.

    StopError with the page's text where something stands against it: then nothing has changed.
    """
    if git.output(ROOT, "status", "--porcelain", "--ignore-submodules=dirty"):
        raise UserError("this repository has changes that are not committed; commit or stash them first")
    source, old = submodule.ensure(), submodule.pin()
    commit = tree.resolve(source, reference)
    if commit == old:
        raise UserError(f"sd-scripts is at {commit[:12]} already")
    tell(f"a tiny run of {eras.RUN} on {old[:12]}, the pin")
    losses, said = eras.run_of(old)
    if not losses:
        raise UserError(f"the pin itself fails a tiny run, so that nothing can be held against it: {said[-300:]}")
    with branch(f"sd-scripts-{commit[:8]}", old) as name:
        tell(f"the series on {commit[:12]}")
        how = rebase(source, commit)
        move(source, commit)
        git.output(ROOT, "add", "sd-scripts", "patches")
        tell("its seams, and the same run")
        row = tried(source, commit, how, losses)
        tell("make parity: by far the longest part")
        parity()
        git.output(ROOT, "commit", "-q", "-m", message(reference, old, row), variables=as_user())
    return f"branch {name}: sd-scripts {old[:8]} → {commit[:8]}; {row.run}"


def tell(part: str) -> None:
    """Say which part begins: each takes minutes in which nothing else is said."""
    print(f"{part} …", file=sys.stderr, flush=True)


@contextmanager
def branch(name: str, pin: str) -> Iterator[str]:
    """Work on a new branch; after an error, the repository is as it was and the branch is gone."""
    on = git.run(ROOT, "symbolic-ref", "--short", "-q", "HEAD").stdout.strip()
    back = [on] if on else ["--detach", git.output(ROOT, "rev-parse", "HEAD")]
    git.output(ROOT, "switch", "-q", "-c", name)
    try:
        yield name
    except BaseException:
        git.output(ROOT, "reset", "-q", "--", "sd-scripts", "patches")
        git.output(ROOT, "clean", "-q", "-f", "--", "patches")
        git.output(ROOT, "checkout", "-q", "--", "patches")
        move(SUBMODULE, pin)
        git.output(ROOT, "switch", "-q", *back)
        git.output(ROOT, "branch", "-q", "-D", name)
        tree.ensure()
        raise


def rebase(source: Path, commit: str) -> str:
    """Put the series on `commit` and write it to patches/; how it applied. StopError for a patch that does not."""
    scratch = RUNTIME / "port-patches"
    try:
        tree.fresh_worktree(source, scratch, commit)
        how = []
        for patch in tree.series():
            try:
                how.append(tree.apply(scratch, patch, commit))
            except UserError:
                raise StopError(conflict(scratch, patch)) from None
        exported = tree.export(scratch, commit)
    finally:
        tree.remove_worktree(source, scratch)
    for patch in tree.series():
        patch.unlink()
    for name, content in exported:
        (PATCHES / name).write_bytes(content)
    write_text(PATCHES / "series", "".join(f"{name}\n" for name, _ in exported))
    return ", ".join(sorted(set(how)))


def move(source: Path, commit: str) -> None:
    """Check the submodule out at a commit, without the files that this copy lacks."""
    with submodule.told_how_to_fetch(ROOT):
        missing = reading.require_whole(source, commit)
    if missing or submodule.is_partial(source):
        submodule.leave_out_missing(source, commit)
    else:
        git.output(source, "checkout", "-q", "--detach", commit)


def tried(source: Path, commit: str, how: str, expected: tuple[float, ...]) -> eras.Row:
    """Look for the seams and make a tiny run on what is the pin by now. StopError where it is not sound."""
    row = eras.row_with(("the pin", commit), source, how, expected)
    if not eras.sound(row):
        raise StopError(
            f"The series applies ({how}).\n\n- seams: {row.seams}\n- a tiny run of {eras.RUN}: {row.run}\n"
        )
    return row


def parity() -> None:
    """Run both trainers side by side. StopError with its last lines where they differ."""
    done = subprocess.run(
        [sys.executable, *PARITY], cwd=ROOT, capture_output=True, text=True, check=False, timeout=SECONDS
    )
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-20:])
        raise StopError(f"The series applies, a tiny run ends well; `make parity` does not:\n\n```\n{last}\n```\n")


def conflict(scratch: Path, patch: Path) -> str:
    """Return the lines to look at: of each hunk what we add, and where what stood around it is now."""
    said = [f"{patch.name} does not apply. Where its lines stood:", ""]
    body = patch.read_text(encoding="utf-8").partition("\ndiff --git ")[2]
    name = re.search(r"^\+\+\+ b/(\S+)$", body, re.MULTILINE)
    path = scratch / name[1] if name else scratch
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    for hunk in body.split("\n@@")[1:]:
        for line in hunk.splitlines()[1:]:
            said.append(f"- `{line}`{'' if line.startswith('+') else where(line[1:], lines)}")
        said.append("")
    return "\n".join([*said, f"File: {name[1] if name else '?'}, {len(lines)} lines there."])


def where(text: str, lines: list[str]) -> str:
    """Return at which lines of upstream's new file a line stands."""
    found = [str(number) for number, line in enumerate(lines, start=1) if line.strip() == text.strip() != ""]
    return f": line {', '.join(found[:5])}" if found else ": not there any more" if text.strip() else ""


def message(reference: str, old: str, row: eras.Row) -> str:
    """Return the commit's message: what was tried, and what came of it."""
    return (
        f"build: sd-scripts {reference} ({row.commit[:12]})\n\n"
        f"From {old[:12]}. Patches: {row.patches}. Seams: {row.seams}. A tiny run of {eras.RUN}: {row.run}.\n"
        f"make parity passes. Its requirements.txt: {row.needs}."
    )


def as_user() -> dict[str, str]:
    """Return what git asks for who commits, and now: this commit is the user's own."""
    who = {key: git.run(ROOT, "config", f"user.{key}").stdout.strip() for key in ("name", "email")}
    found = {
        f"GIT_{role}_{key.upper()}": value for key, value in who.items() for role in ("AUTHOR", "COMMITTER") if value
    }
    return found | {"GIT_COMMITTER_DATE": datetime.now(timezone.utc).isoformat(timespec="seconds")}


def main(words: list[str]) -> int:
    """Upgrade as a program; the exit code: 0 for a commit, 1 for a page, 2 where it cannot begin."""
    words = [word for word in words if word not in ("--", "")]
    try:
        if len(words) != 1:
            raise UserError("give UPSTREAM=<tag, branch or hash of sd-scripts>")
        print(upgrade(words[0]))
        return 0
    except StopError as stop:
        page = RUNTIME / "upgrade-upstream.md"
        write_text(page, f"# sd-scripts {words[0]}: not upgraded\n\n{stop}\n")
        print(f"not upgraded, nothing has changed; why: {page}", file=sys.stderr)
        return 1
    except UserError as error:
        return exit_with(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
