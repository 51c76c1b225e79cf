"""Runs the verbs for patches: build, check, show, save, port.

python -m extensions.upstream.patches build | check | diff | save | port REF
"""

import re
import sys
from pathlib import Path

import typer

from extensions.base.errors import UserError
from extensions.base.paths import PATCHED, PATCHES, ROOT, RUNTIME
from extensions.base.reporting import exit_with
from extensions.upstream import git, reading, submodule, tree

BUDGET = 60  # added plus removed lines of upstream, over the whole series
KINDS = ("hook", "upstream fix", "local need")
FIELDS = ("Kind:", "Why:", "Drop when:")

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def changed_lines(text: str) -> int:
    """Added plus removed lines of one patch."""
    body = text.split("\ndiff --git ", 1)[-1]
    return len(re.findall(r"^[+-](?![+-]{2} )", body, re.MULTILINE))


def problems(patches: Path = PATCHES) -> list[str]:
    """Return what is wrong with the files alone, without upstream; one line each."""
    found = [f"{PATCHES.name}/{name} is not listed in patches/series" for name in unlisted(patches)]
    names = [patch.name for patch in tree.series(patches)]
    found += [f"{name} is listed more than once in patches/series" for name in set(names) if names.count(name) > 1]
    for patch in tree.series(patches):
        found += [f"{patch.name}: {problem}" for problem in problems_of(patch.read_text(encoding="utf-8"))]
    total = sum(changed_lines(patch.read_text(encoding="utf-8")) for patch in tree.series(patches))
    if total > BUDGET:
        found.append(f"the series changes {total} lines of upstream, the budget is {BUDGET}: move logic to a plugin")
    return found


def unlisted(patches: Path) -> list[str]:
    """Patch files that the series does not name."""
    listed = {patch.name for patch in tree.series(patches)}
    return sorted(patch.name for patch in patches.glob("*.patch") if patch.name not in listed)


def problems_of(text: str) -> list[str]:
    """Return what is wrong with one patch: its head says why it exists, its body parses and adds no logic."""
    head, _, body = text.partition("\ndiff --git ")
    found = [f"has no line '{field}'" for field in FIELDS if f"\n{field}" not in head]
    kind = re.search(r"^Kind: (.+?)\.?$", head, re.MULTILINE)
    if kind and kind[1] not in KINDS:
        found.append(f"Kind is {kind[1]!r}; it is one of {', '.join(KINDS)}")
    subject = re.search(r"^Subject: (\S+?):", head, re.MULTILINE)
    files = re.findall(r"^\+\+\+ b/(\S+)$", body, re.MULTILINE)
    if not files:
        found.append("changes no file")
    if subject is None or subject[1] not in files:
        found.append("its subject does not begin with the file that it changes")
    # An upstream `for` may be changed to run over what loop.py gives it.
    if re.search(r"^\+\s*((if|elif|while|try|with|def|class)\b|for\b(?!.*\bloop\.))", body, re.MULTILINE):
        found.append("adds logic; a patch calls, a plugin decides")
    return found


def round_trip() -> list[str]:
    """Apply the series to the pin and export it again; the names of patches that come out different."""
    source = submodule.ensure()
    scratch = RUNTIME / "check-patches"
    try:
        tree.build(source, scratch, submodule.pin())
        exported = tree.export(scratch, submodule.pin())
    finally:
        tree.remove_worktree(source, scratch)
    kept = [(patch.name, patch.read_bytes()) for patch in tree.series()]
    different = [name for (name, _), again in zip(kept, exported, strict=True) if (name, _) != again]
    return [f"{name} differs from its own export; run: make save-patches" for name in different]


@app.command()
def build() -> None:
    """Build sd-scripts-runtime/patched/ if the pin or the series changed."""
    print(f"{tree.ensure()} is sd-scripts {submodule.pin()[:12]} with {len(tree.series())} patches")


@app.command()
def check() -> None:
    """Each patch parses, is listed once, has a reason, applies to the pin, and exports to the same bytes."""
    found = problems() or round_trip()
    for line in found:
        print(line, file=sys.stderr)
    if found:
        raise typer.Exit(1)
    total = sum(changed_lines(patch.read_text(encoding="utf-8")) for patch in tree.series())
    print(
        f"{len(tree.series())} patches, {total} of {BUDGET} lines: apply to {submodule.pin()[:12]}, export unchanged"
    )


@app.command()
def diff() -> None:
    """Show everything we change in upstream: the patches' sum, and the table of wrapped functions."""
    patched = tree.ensure()
    head = git.output(patched, "rev-parse", "HEAD")
    with submodule.told_how_to_fetch(ROOT), reading.seen(patched) as folder:
        print(git.output(folder, "diff", submodule.pin(), head))
    print("\nWrapped from outside (extensions/upstream/seams.py):")
    sys.path.insert(0, str(patched))
    from extensions.upstream import seams

    for seam in seams.SEAMS:
        print(f"  {seam.path}, called {seam.fires.moment}\n      {seam.reason}")


@app.command()
def save() -> None:
    """Write the commits of sd-scripts-runtime/patched/ back to patches/."""
    if not (PATCHED / ".git").exists():
        raise UserError(f"{PATCHED} is not built; run: make patched")
    with submodule.told_how_to_fetch(ROOT):  # git would ask without end for what is damaged
        for commit in (submodule.pin(), git.output(PATCHED, "rev-parse", "HEAD")):
            reading.require_whole(PATCHED, commit)
    if git.output(PATCHED, "status", "--porcelain"):
        raise UserError(f"{PATCHED.name}/ has changes that are not committed; commit them there first")
    exported = tree.export(PATCHED, submodule.pin())
    kept = {name for name, _ in exported}
    for old in PATCHES.glob("*.patch"):
        if old.name not in kept:
            old.unlink()
    for name, content in exported:
        (PATCHES / name).write_bytes(content)
    (PATCHES / "series").write_text("".join(f"{name}\n" for name, _ in exported), encoding="utf-8")
    tree.mark_current()
    print(f"{len(exported)} patches saved")


@app.command()
def port(reference: str = typer.Argument("")) -> None:
    """Try the series on another upstream commit, patch by patch; without one, all of ours on those of `eras.py`."""
    if not reference:
        from extensions.upstream import eras

        said, well = eras.table(attempt)
        print(said)
        raise typer.Exit(0 if well else 1)
    source = submodule.ensure()
    commit = tree.resolve(source, reference)
    scratch = RUNTIME / "port-patches"
    failed = False
    try:
        tree.fresh_worktree(source, scratch, commit)
        for patch in tree.series():
            how = attempt(scratch, patch, commit)
            failed |= how == "conflict"
            print(f"{how:9} {patch.name}")
    finally:
        tree.remove_worktree(source, scratch)
    if failed:
        raise typer.Exit(1)


def attempt(scratch: Path, patch: Path, commit: str) -> str:
    """ "clean", "3-way" or "conflict"."""
    try:
        return tree.apply(scratch, patch, commit)
    except UserError:
        return "conflict"


if __name__ == "__main__":
    try:
        app()
    except UserError as error:
        sys.exit(exit_with(error))
