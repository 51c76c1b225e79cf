"""A record against what is here: all as it was, then one thing changed at a time, and what is said of each."""

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from extensions.base import manifest, paths
from extensions.base.reporting import exit_code_of
from extensions.data.index import opening
from extensions.handing_on import evidence, verify
from extensions.handing_on.verify import WIDTH
from extensions.launch import run_folder
from extensions.report import records
from extensions.upstream import git, submodule, tree
from tests.helpers.run_folders import folder_of, lines

RUN = "25022601"
STARTED = "2026-03-01T10:00:00+00:00"


def sha256(path: Path) -> dict:
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def checkpoint(path: Path, seed: int = 0, **metadata: str) -> None:
    said = {f"sdxl_trainer.{key}": value for key, value in metadata.items()}
    save_file({"a": np.random.default_rng(seed).random(50, np.float32)}, path, said or None)


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """The run folder of a run whose record matches this machine in everything. Beside it: base, data, output."""
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(records, "KEPT", tmp_path / "kept")
    base, metadata, output = tmp_path / "base.safetensors", tmp_path / "meta.json", tmp_path / "output"
    output.mkdir()
    (tmp_path / "latents").mkdir()
    checkpoint(base)
    metadata.write_text(json.dumps({"1": {"tags": "a", "caption": "b", "train_resolution": [64, 64]}}))
    fingerprint = opening.open_for(metadata, None).fingerprint
    folder = folder_of(
        tmp_path / "logs", RUN, "20260301T100000Z", lines(1, 3), started=STARTED, trainer="sd-scripts",
        profile="full", sd_scripts_commit=submodule.pin(), patch_series_sha256=tree.series_hash(),
        packages=run_folder.versions(), hardware={"machine": os.uname().machine, "gpus": []},
        project_commit=git.output(paths.ROOT, "rev-parse", "HEAD"), base_model=sha256(base),
        metadata=sha256(metadata), data_fingerprint=f"{fingerprint} without 0123",
        flags={
            "pretrained_model_name_or_path": str(base), "in_json": str(metadata), "output_dir": str(output),
            "train_data_dir": str(tmp_path / "latents"),
        },
    )  # fmt: skip
    changes = git.text(paths.ROOT, "diff", "HEAD", "--ignore-submodules=dirty")
    if changes:  # whoever runs this test may have some
        (folder / "changes.diff").write_text(changes, encoding="utf-8")
    manifest.update(folder, project_changes="changes.diff" if changes else None)
    record = manifest.read(folder)
    identity = {key: getattr(record, key) for key in ("run", "started", "trainer", "sd_scripts_commit")}
    identity |= {key: getattr(record, key) for key in ("patch_series_sha256", "project_commit")}
    checkpoint(output / "last.safetensors", 1, **identity)
    manifest.update(folder, checkpoints={"last.safetensors": sha256(output / "last.safetensors")})
    return folder


def verified(*words: str) -> tuple[int, dict[str, str], str]:
    """(exit code, {what: verdict and more}, the last lines)."""
    verified.capsys.readouterr()
    code = exit_code_of(verify.main, list(words or (RUN,)))
    return code, *parsed(verified.capsys.readouterr().out)


def parsed(said: str) -> tuple[dict[str, str], str]:
    head, *rest = said.splitlines()
    assert head.startswith("run ")
    table = [line for line in rest if line[WIDTH : WIDTH + 1] == " " and not line.startswith("it can")]
    listed = {line[:WIDTH].rstrip(): line[WIDTH + 1 :] for line in table}
    return listed, "\n".join(line for line in rest if line.startswith(("it can", "what comes")))


@pytest.fixture(autouse=True)
def output_of(capsys):
    verified.capsys = capsys


def test_all_that_is_recorded_matches(here):
    code, listed, end = verified()
    assert code == 0
    differing = {what: said for what, said in listed.items() if not said.startswith("same")}
    assert differing == {"latents": "not recorded: there; their content is in no record"}
    assert {"project commit", "patch series", "package torch", "base model", "data fingerprint"} <= set(listed)
    assert "checkpoint last.safetensors" in listed and "metadata of last.safetensors" in listed


def touched(path: Path, change) -> None:
    """Change a file and leave its size and time, by which what is kept of digests goes."""
    facts, content = path.stat(), bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def flip(content: bytearray) -> None:
    content[-1] ^= 1


FILES = {
    "base flipped": ("base.safetensors", lambda path: touched(path, flip), "base model", "differs"),
    "base cut": ("base.safetensors", lambda path: os.truncate(path, 50), "base model", "differs: recorded"),
    "base gone": ("base.safetensors", Path.unlink, "base model", "gone"),
    "metadata changed": ("meta.json", lambda path: touched(path, flip), "metadata of the data set", "differs"),
    "metadata gone": ("meta.json", Path.unlink, "metadata of the data set", "gone"),
    "index gone": ("meta.json.index.arrow", Path.unlink, "data fingerprint", "gone: the index is not there"),
    "latents gone": ("latents", Path.rmdir, "latents", "gone"),
    "checkpoint flipped": (
        "output/last.safetensors", lambda path: touched(path, flip), "checkpoint last.safetensors", "differs",
    ),
    "checkpoint gone": ("output/last.safetensors", Path.unlink, "checkpoint last.safetensors", "gone"),
    "checkpoint damaged": (
        "output/last.safetensors", lambda path: path.write_bytes(b"x"), "metadata of last.safetensors", "differs",
    ),
    "checkpoint of another launch": (
        "output/last.safetensors", lambda path: checkpoint(path, 1, run=RUN, started="2020"),
        "metadata of last.safetensors", "differs: recorded no launch of 2020",
    ),
    "checkpoint of other code": (
        "output/last.safetensors", lambda path: checkpoint(path, 1, run=RUN, started=STARTED, trainer="mine"),
        "metadata of last.safetensors", "differs: trainer recorded sd-scripts, here mine",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_a_file_that_is_not_what_was_recorded(here, tmp_path, case):
    name, change, what, said = FILES[case]
    change(tmp_path / name)
    code, listed, _ = verified()
    assert code == 1 and listed[what].startswith(said), listed


RECORDS = {
    "project commit": {"project_commit": "0" * 40},
    "sd-scripts commit": {"sd_scripts_commit": "1" * 40},
    "patch series": {"patch_series_sha256": "2" * 64},
    "package torch": {"packages": {"torch": "0.1"}},
    "data fingerprint": {"data_fingerprint": "3" * 32},
    "processor": {"hardware": {"machine": "vax"}},
}


@pytest.mark.parametrize("what", RECORDS)
def test_what_is_here_is_not_what_was_recorded(here, what):
    manifest.update(here, **RECORDS[what])
    code, listed, end = verified()
    assert code == 1 and listed[what].startswith("differs: recorded ") and ", here " in listed[what]
    assert end.startswith("it cannot be repeated here as it was: ") and what in end


def test_a_package_that_is_not_installed_any_more(here):
    manifest.update(here, packages=run_folder.versions() | {"xformers-of-old": "1"})
    code, listed, _ = verified()
    assert (code, listed["package xformers-of-old"]) == (1, "gone: recorded 1")


def test_changes_in_no_commit_are_compared_by_their_text(here):
    (here / "changes.diff").write_text("another diff", encoding="utf-8")
    manifest.update(here, project_changes="changes.diff")
    code, listed, _ = verified()
    assert code == 1 and listed["uncommitted changes"].startswith("differs: recorded changes.diff, here ")


def test_records_of_before_are_valid_and_say_less(here, tmp_path):
    (tmp_path / "output" / "last.safetensors").unlink()
    checkpoint(tmp_path / "output" / "old.safetensors")
    found = json.loads((here / "manifest.json").read_text())
    (here / "manifest.json").write_text(
        json.dumps({key: value for key, value in found.items() if key not in {"data_fingerprint", "checkpoints"}})
    )
    code, listed, end = verified()
    assert code == 0
    assert listed["data fingerprint"] == listed["checkpoint old.safetensors"] == "not recorded"
    assert listed["metadata of old.safetensors"] == "not recorded"


def test_checkpoints_that_the_run_itself_takes_away_are_not_missing(here, tmp_path):
    record = manifest.read(here)
    more = {"at-step00000001.safetensors": {"bytes": 1, "sha256": "0" * 64}}
    manifest.update(here, checkpoints=record.checkpoints | more)
    assert verified()[0] == 1
    manifest.update(here, flags=record.flags | {"save_last_n_steps": "1"})
    code, listed, _ = verified()
    assert code == 0 and "taken away by the run itself" in listed["checkpoint at-step00000001.safetensors"]
    (tmp_path / "output" / "last.safetensors").unlink()  # which no rotation takes
    assert verified()[0] == 1


def test_a_file_is_known_by_its_bytes_under_any_name(here, tmp_path):
    moved = tmp_path / "my model.safetensors"
    (tmp_path / "output" / "last.safetensors").rename(moved)
    code, listed, _ = verified(RUN, f"--model={moved}")
    assert code == 0
    touched(moved, flip)
    assert exit_code_of(verify.main, [RUN, f"--model={moved}"]) == 1
    assert "which is none of them" in verified.capsys.readouterr().out


def test_launches_of_other_code_are_named(here):
    record = manifest.read(here)
    later = folder_of(here.parent.parent, RUN, "20260302T100000Z", lines(3, 4))
    manifest.write(later, replace(record, project_commit="4" * 40, started="2026-03-02T10:00:00+00:00"))
    assert "launch 20260301T100000Z was made with other code or data" in verified()[2]


def test_a_run_without_a_launcher_has_no_command(here):
    folder_of(here.parent.parent, "mine", "20260301T100000Z", lines(1, 2))
    code, _, end = verified("mine")
    assert code == 1 and "there is no train/mine.sh" in end and "what comes closest" not in end


def test_hashes_are_made_anew(here, monkeypatch):
    """Not taken from what is kept of a launch's, which goes by size and time."""
    seen = []
    monkeypatch.setattr(evidence.digests, "of_file", lambda path, _: seen.append(Path(path).name) or "0" * 64)
    verified()
    assert {"base.safetensors", "meta.json", "last.safetensors"} <= set(seen)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "give RUN="),
        (["25030301"], "has a launcher and no record"),
        (["nobody"], "there is no record of a run nobody"),
        ([RUN, "--model=/nowhere/x.safetensors"], "no such checkpoint"),
    ],
)
def test_what_cannot_be_held_against_anything_is_one_line(here, capsys, words, said):
    assert exit_code_of(verify.main, words) == 2
    assert said in (error := capsys.readouterr().err) and error.count("\n") == 1


def test_a_damaged_record_is_one_line(here, capsys):
    (here / "manifest.json").write_text("{")
    assert exit_code_of(verify.main, [RUN]) == 2
    assert "is not the record of a run" in capsys.readouterr().err
