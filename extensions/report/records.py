"""Finds the records of runs: each run's launches, joined to one history by optimizer step.

A run folder is one launch. A run that was resumed, or that a roll-back has begun again, has several: the later one
wins from its first optimizer step on. A tiny run of a launcher and its full-size run are two.
"""

import difflib
import os
import re
from collections import defaultdict
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from extensions.base import manifest, paths
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.report import kept
from extensions.report.curves import Curve
from extensions.report.metrics import MOST, TRAINING, Metrics, first_steps

METRICS = "metrics.jsonl"
TINY = "tiny"
KEPT = paths.RUNTIME / "cache" / "report"


@dataclass(frozen=True)
class Launch:
    """One run folder. record: its manifest, an empty one where it has none that can be read; damage: why not.

    first, cuts: {kind of line: its first optimizer step, and the one from which a later launch has done it again}.
    """

    folder: Path
    record: Manifest
    damage: str = ""
    first: dict[str, int] = field(default_factory=dict)
    cuts: dict[str, int] = field(default_factory=dict)

    @property
    def metrics(self) -> Path:
        return self.folder / METRICS


@dataclass(frozen=True)
class Record:
    """A run with its launches, oldest first. run: its number; key: it and the profile, as a page is named."""

    run: str
    profile: str
    launches: tuple[Launch, ...]

    @property
    def key(self) -> str:
        return f"{self.run} ({self.profile})" if self.profile else self.run

    @property
    def last(self) -> Launch:
        """The newest launch that came as far as a first optimizer step; the newest of all where none did."""
        return next((one for one in reversed(self.launches) if one.first), self.launches[-1])

    @property
    def manifest(self) -> Manifest:
        return self.last.record


@dataclass
class History:
    """What all launches of a run have measured, each up to where a later one has done it again.

    launched: (launch, what is read of it), in order.
    """

    curves: dict[str, Curve] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    launched: list[tuple[Launch, Metrics]] = field(default_factory=list)

    def last(self, name: str) -> float | None:
        """Return a curve's last value; None where there is none."""
        curve = self.curves.get(name)
        return curve.last[1] if curve and curve.last else None

    @property
    def step(self) -> int:
        """The last optimizer step that is recorded."""
        curve = self.curves.get("loss")
        return curve.last[0] if curve and curve.last else 0


def natural(text: str) -> list:
    """Return a key by which -2 comes before -10."""
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", text) if part]


def read_launch(folder: Path) -> Launch:
    """Return one run folder, without looking at others."""
    try:
        record, damage = manifest.read(folder) or Manifest(), ""
    except UserError as error:
        record, damage = Manifest(), str(error)
    except OSError as error:
        record, damage = Manifest(), f"{folder / manifest.FILE} cannot be read ({error.strerror})"
    record, odd = sound(record)
    if odd:
        damage = (
            damage or f"{folder / manifest.FILE}: {', '.join(odd)} of another kind than a launch writes; left out"
        )
    return Launch(folder, record, damage, first_steps(folder / METRICS))


def sound(record: Manifest) -> tuple[Manifest, list[str]]:
    """Return a record with values of the kinds that a launch writes, and the names of those that were of others."""
    whole, text = (int, type(None)), (str, type(None))
    kinds: dict[str, Any] = {each.name: type(getattr(Manifest(), each.name)) for each in fields(Manifest)}
    kinds |= {"exit_code": whole, "images": whole, "numa_node": whole, "parent": text, "ended": text}
    kinds |= {
        "data_fingerprint": text,
        "sd_scripts_commit": text,
        "patch_series_sha256": text,
        "project_changes": text,
    }
    kinds |= {"trainable_parameters": (dict, type(None))}
    odd = [name for name, kind in kinds.items() if not isinstance(getattr(record, name), kind)]
    return replace(record, **{name: getattr(Manifest(), name) for name in odd}), odd


def is_run_folder(folder: Path) -> bool:
    # os.path, which says no to a name that is too long for a disk; pathlib raises.
    return any(os.path.isfile(folder / name) for name in (manifest.FILE, METRICS))


def records_in(folder: Path, run: str = "") -> list[Record]:
    """Return the runs whose launches lie in one folder. run: its name, where a launch has none."""
    profiles = defaultdict(list)
    for each in sorted((path for path in below(folder) if is_run_folder(path)), key=lambda path: natural(path.name)):
        launch = read_launch(each)
        if not launch.record.machines.get("rank"):  # other machines write no metrics
            profiles[TINY if launch.record.profile == TINY else ""].append(launch)
    name = run or folder.name
    return [Record(name, profile, joined(found)) for profile, found in sorted(profiles.items())]


def below(folder: Path) -> list[Path]:
    """Folders in a folder; none where it cannot be read."""
    try:
        return [path for path in folder.iterdir() if path.is_dir()]
    except OSError:
        return []


def joined(launches: list[Launch]) -> tuple[Launch, ...]:
    """Return the launches, in order, each with the steps from which later ones have done it again."""
    found: list[Launch] = []
    after: dict[str, int] = {}
    for launch in reversed(launches):
        whole = after.get(TRAINING, MOST + 1)
        found.append(replace(launch, cuts={kind: min(step, whole) for kind, step in after.items()}))
        for kind, step in launch.first.items():
            after[kind] = min(after.get(kind, MOST + 1), step)
    return tuple(reversed(found))


def find(name: str, logs: Path) -> list[Record]:
    """Return the records of a run: by its number, or by the path of a run folder or of the folder of its launches.

    UserError where there is none, with those that are near.
    """
    path, number = Path(os.path.expanduser(name)), name.removeprefix("model_out_")
    if "/" in name or name in {".", ".."}:
        if is_run_folder(path):
            launch = read_launch(path.resolve())
            profile = TINY if launch.record.profile == TINY else ""
            return [Record(launch.record.run or path.resolve().parent.name, profile, (launch,))]
        if found := records_in(path.resolve()):
            return found
        raise UserError(f"{name} is no run folder (it has no {manifest.FILE} and no {METRICS}); give the path of one")
    if number and paths.is_file_name(number) and (found := records_in(logs / number)):
        return found
    near = difflib.get_close_matches(number, [each.name for each in below(logs)], n=3, cutoff=0.6)
    hint = f"near it: {', '.join(near)}" if near else "give the number of a run that was started, or a path"
    raise UserError(f"there is no record of a run {name} in {paths.shown(logs)}; {hint}")


def find_all(logs: Path) -> list[Record]:
    """Return all recorded runs, in order of their names."""
    return [record for folder in sorted(below(logs)) for record in records_in(folder)]


def history(record: Record, keep: Path | None = KEPT) -> History:
    """Read what a run has measured. keep: where what was read before is kept."""
    made = History()
    for launch in record.launches:
        metrics = kept.read(launch.metrics, launch.cuts, keep)
        made.launched.append((launch, metrics))
        made.labels |= metrics.labels
        for name, curve in metrics.curves.items():
            made.curves.setdefault(name, Curve()).join(curve)
    return made
