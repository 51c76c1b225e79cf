"""`make index`: python -m extensions.data.index META… [--data=FOLDER] [--out=FILE] [--fields=…] …"""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of, run_app
from extensions.data.index import checked, excluded
from extensions.data.index.build import build, described
from extensions.data.index.layout import SUFFIX, Listed, Source, index_of
from extensions.data.index.opening import locked, require_writable
from extensions.data.index.policies import Policies
from extensions.data.index.reader import Index, Unusable

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)


Meta = Annotated[list[str], typer.Argument(help="metadata in order: JSON (id: entry) or jsonl (image_path)")]
Data = Annotated[str, typer.Option(help="folder of the latents: every id must have some")]
Out = Annotated[str, typer.Option(help=f"the index, *{SUFFIX}; default: beside the metadata file")]
Duplicates = Annotated[str, typer.Option(help="ids that occur again: refuse, or keep the first")]
Missing = Annotated[str, typer.Option(help="ids without latents: refuse or skip")]
BadSize = Annotated[str, typer.Option("--bad_size", help="not [width, height], multiples of 8: refuse or skip")]
Exclude = Annotated[str, typer.Option(help="files with an id a line that are left out: check-data's corrupt.txt")]
Fields = Annotated[str, typer.Option(help="other fields of the metadata that texts are made of: score,rating")]
EmptyText = Annotated[str, typer.Option("--empty_text", help="neither tags nor caption: keep, refuse or skip")]


@app.command()
def make(
    meta: Meta,
    data: Data = "",
    out: Out = "",
    duplicates: Duplicates = "refuse",
    missing: Missing = "refuse",
    bad_size: BadSize = "refuse",
    empty_text: EmptyText = "keep",
    exclude: Exclude = "",
    fields: Fields = "",
) -> None:
    """Metadata to an index, which the trainers then map instead of reading the metadata."""
    policies = Policies(duplicates, missing, bad_size, empty_text)
    sources = [Path(path) for given in meta for path in files_of(given)]
    index = place_of(sources, out)
    folder = Path(data) if data else None
    if folder is None and policies.leaves_out("missing"):
        raise UserError("missing=skip needs the folder of the latents; give DATA=")
    lists = [Path(path) for path in files_of(exclude)] if exclude else []
    listed, _ = excluded.read(lists)
    require_there(sources, folder)
    index.parent.mkdir(parents=True, exist_ok=True)
    require_writable(index)
    with locked(index, "builds this index"):
        found, columns = current(sources, index, policies, listed), excluded.fields_of(index)
        wanted = dict.fromkeys([*columns, *filter(None, map(str.strip, fields.split(",")))])
        if found is None or len(wanted) > len(columns):
            build(sources, index, folder, policies, lists, list(wanted))
        elif folder and not checked.is_known(index, found.keys_fingerprint, folder):
            renew(found, sources, folder, policies, lists)
        print(f"{index}: {described(Index(index).facts)}", flush=True)


def require_there(sources: list[Path], folder: Path | None) -> None:
    """Raise UserError for what is not there, before a folder is made for the index."""
    for path in sources:
        if not path.is_file():
            raise UserError(f"no such metadata file: {path}")
    if folder and not folder.is_dir():
        raise UserError(f"no such folder of latents: {folder}")


def files_of(given: str) -> list[str]:
    """Split one META= into files: one path, spaces and all, if there is such a file; else words as in a shell."""
    try:
        words = shlex.split(given)
    except ValueError:
        return [given]
    return words if not Path(given).is_file() and any(Path(word).is_file() for word in words) else [given]


def place_of(sources: list[Path], out: str) -> Path:
    """Return where the index goes.

    Several files have no place of their own: a run names the index, not one of them.
    """
    if sources == [Path()]:
        raise UserError("which metadata? make index META=meta_lat.json DATA=latents")
    if not out and len(sources) > 1:
        raise UserError(
            f"{len(sources)} metadata files: name their index, OUT=<name>{SUFFIX}, and let --in_json name it"
        )
    index = Path(out) if out else index_of(sources[0])
    if not index.name.endswith(SUFFIX):
        raise UserError(f"OUT={out}: an index is named <name>{SUFFIX}")
    if index in sources:
        raise UserError(f"{index} is an index already; give META= the metadata that it is made of")
    return index


def current(sources: list[Path], index: Path, policies: Policies, listed: list[Listed]) -> Index | None:
    """Open the index if it is of these files as they are, made with these policies and without these lists' ids."""
    try:
        found = Index(index)
        now = [Source.of(path) for path in sources]
    except (Unusable, FileNotFoundError):
        return None
    made = found.facts
    same = len(now) == len(made.sources) and all(one.same(two) for one, two in zip(made.sources, now, strict=True))
    if [each.digest for each in made.excluded] != [each.digest for each in listed] or excluded.changed(made):
        print(f"{index.name} is made again: the lists of ids to leave out (EXCLUDE=) are others", flush=True)
        return None
    return found if same and made.policies == policies.as_dict() else None


def renew(found: Index, sources: list[Path], folder: Path, policies: Policies, lists: list[Path]) -> None:
    """Check a current index against a folder that it was not held against yet."""
    if policies.leaves_out("missing"):  # which ids are left out may differ now
        build(sources, found.path, folder, policies, lists, excluded.fields_of(found.path))
    else:
        checked.require(found, folder)


def main(arguments: list[str]) -> int:
    """One command; its exit code. UserError for what is wrong with it, by the parser's rules or ours."""
    return run_app(app, arguments)


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
