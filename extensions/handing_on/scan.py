"""Looks along the line between a run's base and its end: validation, and samples where prompts are set (make scan).

The run's own held-out images are asked about, as its evaluations were, so that the figures can be compared with them.
One blend is in memory at a time, and none is written.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from extensions import manager
from extensions.averages import alike, parents
from extensions.base import paths
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.base.saving import write_text
from extensions.evaluation import along
from extensions.evaluation.along import Point
from extensions.flags import blend as written
from extensions.flags.words import Flags
from extensions.handing_on import found as finding
from extensions.launch import asked as request
from extensions.launch.run_folder import fingerprint, stamp
from extensions.launch.stages import Asked, changed
from extensions.logbook import tables
from extensions.report import planned, records

RATIOS = "0:1:0.1"
FOLDER = "scans"  # beside the end's checkpoint
RECORD = "scan.json"
OWN, SHARES = "validation_json", ("validation_share", "validation_count")
PROMPTS = "sample_prompts"
# Hooks of the plugins that say which images are held out, what a text becomes, what is predicted and, for a mixture,
# what a set's order is: the others train, save or record.
WANTED = ("metadata_fields", "held_out_rows", "compose_text", "tokenize", "encode_tokens", "target", "epoch_batches")
# Flags of what a scan does not do.
DROPPED = (
    "run_folder", "logging_dir", "log_with", "log_prefix", "wandb_api_key", "deepspeed", "torch_compile", "resume",
    "dynamo_backend", "resume_mode", "resume_from", "resume_allow", "initial_step", "skip_until_initial_step",
    "stop_at_step", "sample_every_n_steps", "sample_every_n_epochs", "sample_at_first", PROMPTS,
)  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the verb's words."""
    parser.add_argument("run", nargs="?", default="", help="its number, or the path of a run folder")
    parser.add_argument("--ratios", default="", help=f"FIRST:LAST:STEP, or with commas between them ({RATIOS})")
    parser.add_argument("--a", default="", help="where the line begins, ratio 0: a file, a run, or base (base)")
    parser.add_argument("--b", default="", help="where it ends, ratio 1 (the run's last checkpoint)")
    parser.add_argument("--out", default="", help=f"a new folder; {FOLDER}/<time> beside the end else")


def act(given: argparse.Namespace) -> int:
    """Scan; the exit code."""
    if not given.run:
        raise UserError("give RUN=<a number, or the path of a run folder>, whose held-out images are asked about")
    ratios = along.ratios_of(given.ratios or RATIOS)
    record = recorded(given.run)
    asked = as_recorded(record, os.environ.get("ARGS", ""))
    require_held_out(asked, record)
    blend = written.made((given.a or written.BASE, given.b or record.run), 0.5, "make scan")
    found = parents.find([(name, written.run_of(name)) for name in blend.names], finding.folders_of)
    laid = alike.layout([each.header for each in found], alike.WIDEST, predicted(asked))
    made = parents.described(found, fingerprint)
    out = place_of(given.out, found[1].header.path)
    from extensions.handing_on.looking import Looker  # torch comes when it is known that there is something to do

    looker = Looker(asked, [Path(each.path) for each in made], laid, out, prompts_of(asked, record))
    print(f"scan: {made[0].path} (0) to {made[1].path} (1), {looker.count} images", flush=True)
    points: list[Point] = []
    for ratio in ratios:
        points.append(Point(ratio, looker.look(ratio)))
        print(f"scan: {ratio:g}: error of x_0 {points[-1].mean:.5f}", flush=True)
        write_text(out / RECORD, text_of(record.run, made, points, looker.asked))
    looker.finish(ratios)
    show(points)
    print(along.told(points, *(each.called for each in made)))
    print(f"record: {paths.shown(out / RECORD)}")
    return 0


def recorded(run: str) -> Manifest:
    """Return the record of a run's last launch. UserError where there is none that can be read."""
    found = min(records.find(run, paths.LOGS), key=lambda each: bool(each.profile))
    if found.last.damage:
        raise UserError(found.last.damage)
    return found.manifest


def as_recorded(record: Manifest, args: str) -> Asked:
    """Return the recorded launch as one that only looks, with ARGS: its data, texts and models, and no training."""
    words = Flags.of({name: planned.words_of(value) for name, value in record.flags.items()})
    for flag, path in record.ramdisk.items():  # copies in memory, which are gone
        words = words.with_(flag, path)
    asked = request.read([record.run, "GPUS=1", record.script or "sdxl_train.py", *words.words()], {"ARGS": args})
    flags = asked.flags.without(*DROPPED).with_("skip_cache_check")
    names = manager.listed(flags.get("extensions"))
    if OWN in flags and (owner := manager.owner_of_flag(OWN)) and owner not in names:
        names.append(owner)
    kept = [name for name in names if any(hasattr(manager.declared(name), hook) for hook in WANTED)]
    return changed(asked, flags=flags.with_("extensions", ",".join(kept)))


def require_held_out(asked: Asked, record: Manifest) -> None:
    """Raise UserError unless there are images that the run was not trained on."""
    if OWN in asked.flags:
        return
    for name in SHARES:
        if name in asked.flags and str(record.flags.get(name)) == asked.flags.get(name):
            return
    raise UserError(
        f"run {record.run} held no images out of its training, on which alone a blend can be judged; give a set of "
        f'its own: ARGS="--{OWN}=<metadata> --validation_data_dir=<latents>"'
    )


def predicted(asked: Asked) -> str:
    """Return what the run trains: it is what the blends are asked for, whatever their parents say."""
    return alike.predicted(asked.settings.prediction, asked.settings.zero_snr)


def prompts_of(asked: Asked, record: Manifest) -> Path | None:
    """Return the file of the prompts: that of ARGS, else the run's; None where there is none, or it is gone."""
    if given := asked.extra.get(PROMPTS):
        return Path(given)
    path = Path(str(record.flags.get(PROMPTS) or ""))
    return path if path.is_file() else None


def place_of(text: str, end: Path) -> Path:
    """Return the new folder of the scan. UserError where it cannot be made, or is there already."""
    out = Path(os.path.expanduser(text)) if text else end.parent / FOLDER / stamp()
    try:
        out.mkdir(parents=True)
    except FileExistsError:
        raise UserError(f"{out} is there already; move it away, or give another OUT=") from None
    except OSError as error:
        raise UserError(f"{out} cannot be made ({error.strerror}); give another OUT=") from None
    return out


def text_of(run: str, made: Sequence[parents.Parent], points: Sequence[Point], asked: str) -> str:
    """Return the record: the ends by digest, and of each ratio the images' errors and what sets it off the ends."""
    rows = [
        {"ratio": each.ratio, "x0": each.mean, "error": each.error, "errors": each.errors.tolist(),
         "difference_to_a": along.compared(each, points[0])}
        for each in points
    ]  # fmt: skip
    ends = {name: asdict(each) for name, each in zip("ab", made, strict=True)}
    return json.dumps({"version": 1, "run": run, **ends, "asked": asked, "ratios": rows}, indent=1) + "\n"


def show(points: Sequence[Point]) -> None:
    """Print the table."""
    rows = []
    for each in points:
        sides = [along.compared(each, end) for end in (points[0], points[-1])]
        apart = [f"{side['x0']:+.5f} ± {side['error'] or 0:.5f}" for side in sides]
        rows.append([f"{each.ratio:g}", f"{each.mean:.5f} ± {each.error or 0:.5f}", *apart])
    tables.show(["ratio", "error of x_0", "to ratio 0", "to ratio 1"], rows)
