"""Uploads an export to a hub (make upload): says what it would do, and does it with REALLY=1 alone.

The token comes from the environment, HF_TOKEN, and nowhere else; it is in no message. What is uploaded is listed file
by file; a link that leads out of the folder is refused, and so is what looks like a secret.
"""

from __future__ import annotations

import argparse
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from extensions.base import secrets
from extensions.base.errors import UserError, printable
from extensions.base.paths import shown
from extensions.flags import values
from extensions.handing_on import export
from extensions.handing_on import found as finding

TOKEN = "HF_TOKEN"
CARD = "README.md"
REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
# Of a card's header: what a reader of the hub looks for, and what is no answer to it.
NEEDED = ("license", "base_model", "pipeline_tag", "library_name")
NO_ANSWER = re.compile(r"(|none|unknown|todo|tbd|fill.*|to be filled.*|<.*>|\.\.\.|…)", re.IGNORECASE | re.DOTALL)
LARGEST_TEXT = 1 << 20  # bytes that are looked through for secrets


@dataclass(frozen=True)
class Wish:
    """What is asked for, checked. source: a file, or a folder of which all is uploaded."""

    source: Path
    repo: str
    private: bool
    really: bool


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's words."""
    parser.add_argument("run", nargs="?", default="", help="its number, or the path of a run folder")
    parser.add_argument("--repo", default="", help="user/name")
    parser.add_argument("--file", default="", help="an exported file; what make export has left of the run else")
    parser.add_argument("--folder", default="", help="an exported folder, of which all is uploaded")
    parser.add_argument("--private", default="", help="1: a repository that nobody else sees")
    parser.add_argument("--really", default="", help="1: upload; without it nothing leaves this machine")


def act(given: argparse.Namespace) -> int:
    """Say what would be uploaded, or upload it; the exit code."""
    asked = wish(given)
    files = files_of(asked.source)
    print(f"{'uploads' if asked.really else 'would upload'} to {asked.repo} "
          f"({'private' if asked.private else 'public'}):")  # fmt: skip
    for name, path in files.items():
        print(f"  {path.stat().st_size:>14,}  {printable(name)}")
    print(f"  {sum(path.stat().st_size for path in files.values()):>14,}  bytes in {len(files):,} files")
    for lack in lacking(files.get(CARD)):
        print(f"note: {lack}")
    if not asked.really:
        print("nothing has left this machine; REALLY=1 uploads")
        return 0
    from extensions.handing_on import hub

    print(f"uploaded: {hub.upload(asked.repo, files, asked.private, token())}", flush=True)
    return 0


def wish(given: argparse.Namespace) -> Wish:
    """Return what is asked for. UserError for words that are none."""
    if not REPO.fullmatch(given.repo) or ".." in given.repo or "--" in given.repo or given.repo.endswith(".git"):
        raise UserError(f"REPO={given.repo} is no name of a repository; give REPO=<user>/<name>")
    if given.file and given.folder:
        raise UserError("FILE= and FOLDER= are both given; give one of them")
    private, really = values.switch("PRIVATE", given.private), values.switch("REALLY", given.really)
    named = given.file or given.folder
    source = Path(os.path.expanduser(named)) if named else exported(given.run)
    if given.file and not source.is_file():
        raise UserError(f"FILE={given.file} is no file; give one that make export has written")
    if given.folder and not source.is_dir():
        raise UserError(f"FOLDER={given.folder} is no folder; give one that make export has written")
    return Wish(source, given.repo, private, really)


def exported(run: str) -> Path:
    """Return the one export that a run has. UserError for none, and naming them, for several."""
    if not run:
        raise UserError("give RUN=<run>, FILE=<exported file> or FOLDER=<exported folder>")
    folder = finding.find(run, "").path.parent / export.FOLDER
    found = [path for path in sorted(folder.iterdir()) if is_export(path)] if folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    if not found:
        raise UserError(f"{shown(folder)} holds no export; make export RUN={run} first, or give FILE= or FOLDER=")
    raise UserError(f"{shown(folder)} holds {', '.join(path.name for path in found)}; give FILE= or FOLDER=")


def is_export(path: Path) -> bool:
    """Tell whether something in the folder of exports is one."""
    if path.name.startswith("."):
        return False
    return path.suffix == export.SUFFIX if path.is_file() else (path / "model_index.json").is_file()


def files_of(source: Path) -> dict[str, Path]:
    """Return {name in the repository: file}; a card beside a single file goes with it. UserError as said above."""
    if source.is_file():
        card = source.with_name(CARD)
        found = {source.name: source} | ({CARD: card} if card.is_file() else {})
    else:
        found = {
            str(PurePosixPath(path.relative_to(source))): path
            for path in sorted(source.rglob("*"))
            if wanted(path, source)
        }
    if not found:
        raise UserError(f"{source} holds no files; give what make export has written")
    for name, path in found.items():
        require_harmless(name, path, source)
    return found


def wanted(path: Path, source: Path) -> bool:
    """Tell whether a file of a folder is uploaded: what is hidden, of git or of a killed write, is not."""
    hidden = any(part.startswith(".") for part in path.relative_to(source).parts)
    return not hidden and (path.is_file() or path.is_symlink())


def require_harmless(name: str, path: Path, source: Path) -> None:
    """Raise UserError for a link out of the folder or to nothing, and for a text with a secret in it."""
    root = source if source.is_dir() else source.parent
    if path.is_symlink() and not (path.is_file() and path.resolve().is_relative_to(root.resolve())):
        raise UserError(f"{path} is a link out of {root}, or to nothing; put the file itself there, or take it away")
    if path.stat().st_size > LARGEST_TEXT:
        return
    text = path.read_bytes().decode("utf-8", "replace")
    if secrets.redacted(text, [os.environ.get(TOKEN, "")]) != text:
        raise UserError(f"{path} holds what looks like a key or a password; take it out before {name} is uploaded")


def lacking(card: Path | None) -> list[str]:
    """Return what a model card lacks, a line each."""
    if card is None:
        return [f"there is no model card ({CARD}), and so no licence; make card writes one"]
    from huggingface_hub import ModelCard

    try:
        header = ModelCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=False).data.to_dict()
    except Exception as error:  # whatever a YAML parser makes of a damaged header
        why = str(error).strip().splitlines() or [type(error).__name__]
        return [f"the header of {CARD} cannot be read ({why[0]}); the hub will not take it"]
    empty = [name for name in NEEDED if NO_ANSWER.fullmatch(str(header.get(name) or "").strip())]
    return [f"{CARD} says no {name}" + (": nobody may use the model" if name == "license" else "") for name in empty]


def token() -> str:
    """Return the token of the hub. UserError where the environment has none."""
    found = os.environ.get(TOKEN, "").strip()
    if not found:
        raise UserError(f"there is no {TOKEN} in the environment; export one that may write, from the hub's settings")
    if not re.fullmatch(r"[\x21-\x7e]+", found):  # what a header cannot hold would be shown in an error
        raise UserError(f"{TOKEN} holds what no token can; export the hub's own text again")
    return found
