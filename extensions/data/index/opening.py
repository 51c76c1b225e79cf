"""Opens a current index for the file that a run names, or lets one process build it while the others wait."""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import MappingProxyType

from filelock import Timeout

from extensions.base import locks
from extensions.base.errors import UserError
from extensions.data import sources
from extensions.data.index import checked, excluded
from extensions.data.index.build import build
from extensions.data.index.layout import SUFFIX, Source, beside, index_of
from extensions.data.index.policies import Policies
from extensions.data.index.reader import Index, Unusable

NONE: Mapping[str, str] = MappingProxyType({})


def open_for(metadata: str | Path, folder: str | Path | None, fields: Mapping[str, str] = NONE):
    """Return the index of a run's metadata, every id of it with latents in `folder`; None: no latents are looked for.

    metadata: the JSON or jsonl, whose index is beside it and is built where it is missing or older, with the
    policies that refuse and without the ids of the lists that the older one was made with; or an index itself.
    A mixture (TOML, `data/sources.py`) gives the joined index of its sources, a `mixture.Mixture`. UserError in one
    line for whatever cannot be used. fields: others of the metadata that samples are to have, each with what is to be
    done where it has numbers, or "" where that is well.
    """
    if sources.is_mixture(metadata):
        from extensions.data.mixture import Mixture

        named_there = sources.read(metadata, folder)
        every = [open_for(each.metadata, each.folder, fields) for each in named_there]
        return Mixture(Path(metadata), named_there, every)
    metadata, folder = Path(metadata), None if folder is None else Path(folder)
    index = named(metadata) if metadata.name.endswith(SUFFIX) else current(metadata, folder, fields)
    index.take_fields(fields)
    excluded.require_unchanged(index.path, index.facts)
    excluded.tell(index.path, index.facts)
    if folder and not checked.is_known(index.path, index.keys_fingerprint, folder):
        with locked(index.path, "looks for the latents"):
            if not checked.is_known(index.path, index.keys_fingerprint, folder):
                checked.require(index, folder)
    return index


def ensure(metadata: str | Path, folder: str | Path) -> Path:
    """Return the path of the index that `open_for` would open, current but not held open."""
    return open_for(metadata, folder).path


def named(path: Path) -> Index:
    """Return an index that is named itself. UserError where one of its sources is at hand and has changed."""
    index = Index(path)
    for source in index.facts.sources:
        places = (Path(source.path), path.with_name(Path(source.path).name))
        place = next((place for place in places if place.is_file()), None)
        if place and not source.same(Source.of(place)):
            raise UserError(
                f"{place} changed after {path} was made of it; make it again (make index META=… OUT=…), "
                "or put the metadata back"
            )
    return index


def current(metadata: Path, folder: Path | None, fields: Iterable[str]) -> Index:
    """Return the index beside a metadata file, built where it has to be, then with these fields, too."""
    path = index_of(metadata)
    if not metadata.is_file():
        hint = f"; its index is there: name {path} instead" if path.is_file() else ""
        raise UserError(f"no such metadata file: {metadata}{hint}")
    index, _ = usable(path, metadata)
    if index:
        return index
    require_writable(path)
    with locked(path, "builds the index"):
        index, why = usable(path, metadata)  # another process may have built it meanwhile
        if index:
            return index
        print(f"{path.name} {why}: building it once …", flush=True)
        every = dict.fromkeys([*excluded.fields_of(path), *fields])
        build([metadata], path, folder, Policies(), excluded.lists_of(path), list(every))
    return Index(path)


def usable(path: Path, metadata: Path) -> tuple[Index | None, str]:
    """Return (the index if it is of these metadata as they are, else why not)."""
    if not path.exists():
        return None, "is not there"
    try:
        index = Index(path)
    except Unusable as error:
        return None, f"cannot be used ({error})"
    sources = index.facts.sources
    if len(sources) == 1 and sources[0].same(Source.of(metadata)):
        return index, ""
    return None, f"is not of {metadata.name} as it is now"


def require_writable(index: Path) -> None:
    """Raise UserError where an index cannot be put."""
    if not os.access(index.parent, os.W_OK):
        raise UserError(
            f"{index.parent} cannot be written, and the index belongs there; make it elsewhere "
            "(make index META=… OUT=…), and let --in_json name it"
        )


@contextmanager
def locked(index: Path, what: str):
    """One process at a time; the others say that they wait, and for what. No lock in a read-only folder."""
    if not os.access(index.parent, os.W_OK):
        yield
        return
    with ExitStack() as stack:
        try:
            stack.enter_context(locks.held(beside(index, "lock"), timeout=0))
        except Timeout:
            print(f"waiting for another process that {what} …", flush=True)
            stack.enter_context(locks.held(beside(index, "lock")))
        yield
