"""A launch whose base is a blend: named before it is made, made once, held against its parents later."""

import json
from pathlib import Path

import pytest

from extensions.averages import blending, parents
from extensions.base import paths
from extensions.base.errors import UserError
from extensions.launch import __main__ as launch
from extensions.launch import blends, checks, run_folder, tiny
from extensions.model import folder, prediction
from extensions.model.checkpoint import read_header
from tests.helpers import asking, checkpoint_files

RUN = "25112201"
BLEND = f"blend(base, {RUN}@8, 0.25)"


def checkpoint(path: Path, **metadata: str) -> Path:
    """A stand-in of zeros."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return checkpoint_files.write(path, checkpoint_files.entries(checkpoint_files.small("sdxl")), metadata)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A run that has left a checkpoint and a record, its base, and data."""
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(run_folder, "RUNTIME", tmp_path)
    base = checkpoint(tmp_path / "base.safetensors", **{"modelspec.title": "base"})
    said = {folder.RUN: RUN, folder.STARTED: "s", folder.STEPS: "8"}
    checkpoint(tmp_path / f"model_out_{RUN}" / "last.safetensors", **said)
    record = tmp_path / "logs" / RUN / "one" / "manifest.json"
    record.parent.mkdir(parents=True)
    facts = run_folder.fingerprint(base)
    record.write_text(json.dumps({"run": RUN, "started": "s", "base_model": facts}))
    (tmp_path / "latents").mkdir()
    (tmp_path / "meta.json").write_text("{}")
    return tmp_path


def asked(files, *more, base=BLEND, **environment):
    inputs = [f"--in_json={files / 'meta.json'}", f"--train_data_dir={files / 'latents'}"]
    output = f"--output_dir={files / 'model_out_26011101'}"
    words = (f"--pretrained_model_name_or_path={base}", *inputs, output, *more)
    return launch.prepare(asking.asked(*words, run="26011101", **environment))


@pytest.fixture
def here(monkeypatch):
    """The child's work is done in this process; gives the jobs."""
    jobs = []

    class Done:
        def __init__(self, job):
            jobs.append(json.loads(job))
            monkeypatch.setattr("sys.stdin", __import__("io").StringIO(job))
            self.returncode, self.stdout = blending.main([]), ""

    monkeypatch.setattr(blends.subprocess, "run", lambda *_, input, **__: Done(input))
    return jobs


def listing(where: Path) -> list[str]:
    return sorted(str(path.relative_to(where)) for path in where.rglob("*"))


def test_a_dry_run_names_the_file_and_makes_nothing(files, capsys):
    before = listing(files)
    made = asked(files)
    path = made.path("pretrained_model_name_or_path")
    assert made.blend == BLEND and path.parent == files / "blends" and not path.parent.exists()
    assert f"base: {BLEND} is made on first use: {path}" in made.notes
    assert launch.dry_run(asking.resolved(made, trainer="reference")) == 0
    assert str(path) in capsys.readouterr().out and listing(files) == before


def test_another_base_stays_as_it_is(files):
    made = asked(files, base=files / "base.safetensors")
    assert made.blend == "" and made.path("pretrained_model_name_or_path") == files / "base.safetensors"


def test_made_once_recorded_and_checked_later(files, here):
    made = asking.resolved(asked(files), cpu=True)
    notes = checks.check(made)
    path = made.path("pretrained_model_name_or_path")
    assert any("was made" in note for note in notes) and path.is_file()
    assert [each.name for each in path.parent.iterdir() if "part" in each.name] == []
    recipe = parents.recipe_in(read_header(path))
    assert (recipe["blend"], recipe["factors"]) == (BLEND, [0.75, 0.25])
    known = run_folder.base_model(path)
    assert known["blend"] == recipe and len(known["sha256"]) == 64
    before = path.stat().st_mtime_ns
    assert checks.check(made) == [] and path.stat().st_mtime_ns == before and len(here) == 1
    assert f"base: {BLEND} is {path}" in asked(files).notes

    end = files / f"model_out_{RUN}" / "last.safetensors"
    checkpoint(end, **{folder.RUN: RUN, folder.STARTED: "s", folder.STEPS: "8", "more": "x"})
    with pytest.raises(UserError, match="was made of other files than there are now: 25112201@8 .* it was made of"):
        checks.check(made)
    end.unlink()
    assert "its parents cannot be checked any more: 25112201@8: run 25112201 has left no" in checks.check(made)[0]


def test_a_file_of_that_name_that_is_another(files):
    made = asking.resolved(asked(files), cpu=True)
    path = checkpoint(made.path("pretrained_model_name_or_path"))
    with pytest.raises(UserError, match="is not blend.* whose name it has; move .* away to have it made anew"):
        blends.ensure(made)
    assert path.is_file()


@pytest.mark.parametrize(
    ("base", "line"),
    [
        ("blend(base, 25112299, 0.5)", "25112299: run 25112299 has left no checkpoint in"),
        ("blend(base, /no/such.safetensors, 0.5)", "no such checkpoint: /no/such.safetensors"),
    ],
)
def test_parents_that_are_not_there(files, here, base, line):
    made = asking.resolved(asked(files, base=base), cpu=True)
    with pytest.raises(UserError, match=line):
        checks.check(made)
    assert here == [] and not list((files / "blends").glob("*.safetensors"))


def test_what_is_cheap_is_refused_first(files, here, monkeypatch):
    monkeypatch.setattr(checks.gpus, "names", lambda: ())
    with pytest.raises(UserError, match="this machine has 0"):
        checks.check(asking.resolved(asked(files)))
    assert here == [] and not (files / "blends").exists()


def test_what_the_child_refuses_is_one_line(files, monkeypatch):
    done = type("Done", (), {"returncode": 2, "stdout": json.dumps({"error": "tensor x holds NaN"})})
    monkeypatch.setattr(blends.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(UserError, match="^--pretrained_model_name_or_path: tensor x holds NaN$"):
        blends.ensure(asked(files))
    done.returncode, done.stdout = -9, ""
    with pytest.raises(UserError, match=r"was not made \(exit code -9\); give the command again"):
        blends.ensure(asked(files))


def test_a_run_that_is_to_teach_another_prediction_says_what_its_base_is(files, here):
    spec = {prediction.METADATA: "v"}
    said = {folder.RUN: RUN, folder.STARTED: "s", folder.STEPS: "8"}
    checkpoint(files / f"model_out_{RUN}" / "last.safetensors", **said, **spec)
    other = checkpoint(files / "eps.safetensors", **{prediction.METADATA: "epsilon"})
    base = f"blend({other}, {RUN}, 0.5)"
    with pytest.raises(UserError, match=r"do not predict the same: .*\(a launch: --change_prediction\)"):
        blends.ensure(asked(files, base=base))
    made = asked(files, "--change_prediction", "--v_parameterization", "--zero_terminal_snr", base=base)
    blends.ensure(made)
    header = read_header(made.path("pretrained_model_name_or_path"))
    assert header.metadata[prediction.METADATA] == "v" and set(prediction.MARKS) <= header.shapes.keys()


def test_a_tiny_run_blends_the_stand_in_where_a_run_has_left_none(files, here, monkeypatch):
    standin = checkpoint(files / "standin.safetensors")
    names = ("tokenizers", "meta_sdxl", "data_sdxl")
    monkeypatch.setattr(tiny, "standins", lambda: {"sdxl": standin} | {name: files / name for name in names})

    def made(base):
        words = (f"--pretrained_model_name_or_path={base}", f"--output_dir={files / 'model_out_26011101'}")
        return launch.prepare(tiny.apply(asking.asked(*words, run="26011101", PROFILE="tiny")))

    kept = made(f"blend(base, {RUN}, 0.5)")
    assert kept.blend == f"blend(base, {RUN}, 0.5)"
    assert kept.path("pretrained_model_name_or_path").name.endswith("-tiny.safetensors")
    gone = made("blend(base, 25111701, 0.5)")
    assert gone.blend == f"blend({standin}, {standin}, 0.5)"
    assert any("run 25111701 has left no stand-in here" in note for note in gone.notes)
    blends.ensure(gone)
    assert gone.path("pretrained_model_name_or_path").is_file() and len(here) == 1
    full = checkpoint_files.entries(checkpoint_files.full("sdxl"))
    checkpoint_files.write(files / f"model_out_{RUN}" / "last.safetensors", full)  # a run at full size: a hole
    assert made(f"blend(base, {RUN}, 0.5)").blend == f"blend({standin}, {standin}, 0.5)"
