"""Builds an index: read, judge, assemble; what was found is reported, nothing half done gets a final name."""

import json
import os
import time
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from errno import ENOSPC
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.saving import write_text
from extensions.data.index import checked, excluded, listing, parts
from extensions.data.index.assemble import assemble
from extensions.data.index.layout import Facts, beside
from extensions.data.index.policies import EXCLUDED, UNKNOWN, WHAT, Policies
from extensions.data.index.verdict import Verdict, judge

ROOM = "up to twice the metadata's bytes are needed, here or at another OUT="


def build(
    sources: list[Path],
    index: Path,
    folder: Path | None,
    policies: Policies,
    exclude: Sequence[Path] = (),
    fields: Sequence[str] = (),
) -> Facts:
    """Make the index of some metadata files, in their order. The caller holds its lock.

    folder: of latents; None where it is not known, then no id is looked for. exclude: lists of ids to leave out.
    fields: others of the metadata that become columns. UserError: malformed metadata, what the policies refuse (the
    report names all of it), a list that is not there, a disk that is full. What was read is kept for the next try.
    """
    began = time.monotonic()
    for path in sources:
        if not path.is_file():
            raise UserError(f"no such metadata file: {path}")
    if folder and not folder.is_dir():
        raise UserError(f"no such folder of latents: {folder}")
    lists, left_out = excluded.read(list(exclude))
    with disk_errors(index):
        read = parts.read(sources, index, fields=fields)
        state, present = checked.scan(folder, read.done.rows) if folder else (None, None)
        verdict = judge(read, policies, present, left_out if lists else None)
        refused = verdict.refused(policies)
        verdict.lists = listing.write(index, read, verdict.found, [*exclude, *excluded.lists_of(index)])
        if refused or not verdict.keep.any():
            write_report(index, read, verdict, policies)
            raise refusal(index, sources, verdict, policies, refused, folder)
        facts = assemble(read, verdict, policies, lists, index)
        write_report(index, read, verdict, policies, facts)
        if state:
            checked.remember(index, facts.keys_fingerprint, state)
        read.remove()
    seconds = time.monotonic() - began
    print(f"indexed {described(facts)} of {names(sources)} in {seconds:.0f} s", flush=True)
    if left_out_ids := [path for kind, path in verdict.lists.items() if policies.leaves_out(kind)]:
        print(f"the ids that were left out are listed in {', '.join(left_out_ids)}", flush=True)
    return facts


@contextmanager
def disk_errors(index: Path):
    """Turn what the system says about files into one line."""
    try:
        yield
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        room = f": {ROOM}" if error.errno == ENOSPC else ""
        what = error.filename or index
        raise UserError(f"{what}: {why}{room}; what was read is kept, the next try goes on") from None


def refusal(
    index: Path, sources: list[Path], verdict: Verdict, policies: Policies, kinds: list[str], folder: Path | None
) -> UserError:
    """One line with all that the policies refuse, and how to let it pass."""
    report = beside(index, "report.json", hidden=False)
    if not kinds:
        return UserError(f"{names(sources)}: no image is left, every one was left out; see {report}")
    where = {"missing": f" in {folder}"}
    found = []
    for kind in kinds:
        count, example = verdict.counts[kind], verdict.examples[kind][0]
        found.append(f"{count:,} {WHAT[kind]}{where.get(kind, '')} (e.g. {example})")
    return UserError(
        f"{names(sources)}: {', '.join(found)}; all these ids are in "
        f"{', '.join(verdict.lists[kind] for kind in kinds)}, counts in {report}; mend the data, or leave them out: "
        f'make index META=… DATA=… POLICY="{policies.mending(kinds)}"'
    )


def names(sources: list[Path]) -> str:
    """Return the sources for a line of text."""
    return str(sources[0]) if len(sources) == 1 else f"{sources[0]} and {len(sources) - 1} more"


def described(facts: Facts) -> str:
    """Return how many images an index has, and what was left out."""
    what = WHAT | {EXCLUDED: "listed in EXCLUDE"}
    left_out = [f"{count:,} {what[kind]}" for kind, count in facts.left_out.items() if count]
    unknown = facts.counts.get(UNKNOWN, 0)
    said = f"{facts.rows:,} images" + (f" (left out: {', '.join(left_out)})" if left_out else "")
    return said + (f"; {unknown:,} listed ids are not in the metadata" if unknown else "")


def write_report(
    index: Path, read: parts.Parts, verdict: Verdict, policies: Policies, facts: Facts | None = None
) -> None:
    """Report what was found: counts, lists and examples of each kind, and the buckets if there is an index."""
    report = {
        "sources": [asdict(each) for each in read.done.sources],
        "entries": read.done.rows,
        "images": facts.rows if facts else None,
        "policies": policies.as_dict(),
        "excluded": [asdict(each) for each in facts.excluded] if facts else None,
        "fields": read.done.fields,
        "counts": verdict.counts,
        "left_out": verdict.left_out,
        "fingerprint": facts.fingerprint if facts else None,
        "buckets": facts.buckets if facts else None,
        "lists": verdict.lists,
        "examples": verdict.examples,
    }
    write_text(beside(index, "report.json", hidden=False), json.dumps(report, indent=1, ensure_ascii=False) + "\n")
