"""Says in rows what a card holds of a run: in short, lineage, validation, versions."""

from extensions.handing_on.markdown import Markdown, code
from extensions.handing_on.subject import Subject, ancestors
from extensions.logbook import steps
from extensions.report.differing import sha

# Flags that name somebody's data, or a folder that means nothing elsewhere.
OF_DATA = frozenset((
    "in_json", "train_data_dir", "validation_json", "validation_data_dir", "sample_prompts", "output_dir",
    "logging_dir", "run_folder", "tokenizer_cache_dir", "console_log_file", "resume_from", "log_tracker_config",
))  # fmt: skip
VALIDATION = "validation/"
NONE = "-"


def notes(subject: Subject) -> list[str]:
    """Return what a reader must know before anything else."""
    found = []
    if subject.tiny:
        found.append("a run on stand-ins, of a model that draws nothing: for trying things out, not for use.")
    if not subject.record:
        found.append("this run is not recorded here; what stands here is what its launcher says.")
    if subject.header.record and subject.header.record != "none" and not subject.record:
        found.append(f"of the original run is recorded: {subject.header.record}.")
    if subject.record and subject.settings is None:
        found.append("its flags are not understood by this version; they stand below as recorded.")
    if subject.record and subject.record.launches[-1].record.exit_code != 0:
        found.append("the last launch of this run did not end by itself, or not yet.")
    return found


def short(subject: Subject) -> list[tuple[str, str]]:
    """Return the card's first table."""
    record, run = subject.manifest, subject.run
    rows = [("base model", base_of(subject)), ("data set", data_of(subject))]
    rows.append(("optimizer steps", number(subject.steps)))
    samples = subject.history.last("samples")
    rows.append(("samples (images over all processes)", number(samples)))
    if run:
        rows.append(("batch", f"{run.gpus} process(es) x {run.batch_size} image(s) x {run.ga} micro-step(s)"))
    rows.append(("hours", NONE if subject.hours is None else f"{subject.hours:.2f}"))
    speed = subject.history.last("images_per_second")
    rows.append(("images/s, last launch's mean", NONE if speed is None else f"{speed:.3g}"))
    gpus = record.hardware.get("gpus") or []
    hardware = ", ".join(map(str, gpus)) if isinstance(gpus, list) else ""
    rows.append(("hardware", hardware or subject.header.hardware or ("a processor" if subject.record else NONE)))
    rows.append(("seed", subject.flags.get("seed", NONE)))
    trained = record.trainable_parameters or {}
    rows += [(f"trainable parameters of {name}", number(count)) for name, count in trained.items()]
    return rows


def base_of(subject: Subject) -> str:
    """Return the base model's name and digest."""
    digest = subject.manifest.base_model.get("sha256")
    name = code(subject.base or NONE)
    return Markdown(f"{name}, sha256 {code(digest)}") if digest else name


def data_of(subject: Subject) -> str:
    """Return the data set by its count and its digests."""
    record, run = subject.manifest, subject.run
    alias = run.data if run and not subject.record else ""
    count = record.images or (steps.IMAGES.get(alias) if alias else None)
    parts = [f"{count:,} images" if isinstance(count, int) else "images not counted"]
    parts += [f"the logbook's {alias} set"] if alias else []
    found = [Markdown(", ".join(parts))]
    digests = {"fingerprint": record.data_fingerprint, "sha256 of its metadata": record.metadata.get("sha256")}
    found += [Markdown(f"{what} {code(digest)}") for what, digest in digests.items() if digest]
    return Markdown(", ".join(found))


def lineage(subject: Subject) -> list[list[str]]:
    """Return a row a run, the first ancestor on top."""
    return [row(each) for each in [*ancestors(subject), subject]]


def row(each: Subject) -> list[str]:
    """Return a run's row of the lineage."""
    made = each.settings
    start = f"{made.start_step:,}" if made else NONE
    end = each.steps or (made.stop_step if made else None) or (each.run.steps if each.run else None)
    digest = sha(each.manifest.base_model)
    base = f"{each.base or NONE}" + (f" ({digest})" if each.record and digest != NONE else "")
    images = each.manifest.images or (steps.IMAGES.get(each.run.data) if each.run and not each.record else None)
    hours = NONE if each.hours is None else f"{each.hours:.2f}"
    return [each.name + (" (tiny)" if each.tiny else ""), base, start, number(end), number(images), hours]


def validation(subject: Subject) -> list[list[str]]:
    """Return a row a figure: at its first and at its last evaluation. Strata are in the curves alone."""
    found = []
    for name, curve in sorted(subject.history.curves.items()):
        if not name.startswith(VALIDATION) or name.rpartition("/")[2].isdigit() or curve.last is None:
            continue
        if not len(curve.bins):
            continue
        begin, step, last = int(curve.bins[0]) * curve.width, *curve.last
        first = curve.means()[0]
        found.append([name.removeprefix(VALIDATION), f"{first:.5g} ({begin:,})", f"{last:.5g} ({step:,})"])
    return found


def versions(subject: Subject) -> list[tuple[str, str]]:
    """Return what the run was made with."""
    record = subject.manifest
    rows = [("trainer", record.trainer or (subject.run.script if subject.run else NONE))]
    known = {
        "sd-scripts commit": record.sd_scripts_commit,
        "patch series, sha256": record.patch_series_sha256,
        "project commit": record.project_commit,
    }
    rows += [(name, code(value)) for name, value in known.items() if value]
    rows += [("project", "with changes that are in no commit")] if record.project_changes else []
    rows += [(str(name), str(version)) for name, version in record.packages.items()]
    return rows


def number(value: float | None) -> str:
    """Return a count with its thousands apart."""
    return f"{value:,.0f}" if isinstance(value, (int, float)) else NONE
