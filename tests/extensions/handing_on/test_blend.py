"""make blend: files, runs and bases by name become a new checkpoint with its recipe; what cannot is one line."""

import json

import pytest
import torch
from safetensors.torch import load_file

from extensions.averages import parents
from extensions.base import paths
from extensions.base.reporting import exit_code_of
from extensions.handing_on import __main__ as verbs
from extensions.model.checkpoint import read_header
from tests.helpers import exporting, run_folders

RUN = "25022601"


@pytest.fixture(scope="module")
def ends(standins, tmp_path_factory):
    """A base, and what a run has made of it."""
    folder = tmp_path_factory.mktemp("ends")
    base = exporting.checkpoint(standins, "sdxl", folder / "base.safetensors", {"modelspec.architecture": "xl"})
    tensors = {name: each + 0.01 for name, each in load_file(base).items() if "diffusion_model" in name}
    end = folder / f"model_out_{RUN}" / "last.safetensors"
    said = exporting.FACTS | {"modelspec.architecture": "xl"}
    return base, exporting.checkpoint(standins, "sdxl", end, said, **tensors)


@pytest.fixture
def recorded(ends, monkeypatch, tmp_path):
    """The same, with the run's record."""
    from extensions.launch.run_folder import fingerprint

    base, end = ends
    monkeypatch.setenv("OUTPUT", str(end.parent.parent))
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    run_folders.folder_of(
        tmp_path / "logs", RUN, "20260301T100000Z", [], started=exporting.FACTS["sdxl_trainer.started"],
        base_model=fingerprint(base),
    )  # fmt: skip
    return ends


def blend(*words) -> int:
    return exit_code_of(verbs.main, ["blend", *map(str, words)])


def test_a_run_and_its_base(recorded, tmp_path, capsys):
    out = tmp_path / "half.safetensors"
    assert blend("--a=base", f"--b={RUN}", "--ratio=0.25", f"--out={out}") == 0
    said = capsys.readouterr().out
    assert "blend: 0.75 of" in said and "0.25 of" in said and f"saved {out}" in said
    a, b, made = (load_file(path) for path in (*recorded, out))
    changed = [name for name in made if not torch.equal(a[name], b[name])]
    assert changed and made.keys() == a.keys()
    for name, tensor in made.items():
        wanted = 0.75 * a[name].double() + 0.25 * b[name].double()
        assert torch.allclose(tensor.double(), wanted, rtol=1e-6, atol=1e-9)
    header = read_header(out)
    found = parents.recipe_in(header)
    assert [(each.name, each.run, len(each.sha256)) for each in parents.parents_of(found)] == [
        ("base", "", 64), (RUN, RUN, 64),
    ]  # fmt: skip
    assert found["blend"] == f"blend(base, {RUN}, 0.25)" and header.metadata["modelspec.architecture"] == "xl"
    assert "sdxl_trainer.run" not in header.metadata


def test_a_difference_of_blends_and_another_dtype(recorded, tmp_path):
    base, end = recorded
    half, sum_ = tmp_path / "half.safetensors", tmp_path / "sum.safetensors"
    assert blend(f"--a={base}", f"--b={end}", "--ratio=0.5", f"--out={half}") == 0
    assert blend(f"--a={end}", f"--b={half}", f"--c={base}", "--ratio=1", f"--out={sum_}", "--dtype=bf16") == 0
    a, b, made = (load_file(path) for path in (base, end, sum_))
    name = "model.diffusion_model.out.2.weight"
    wanted = b[name] + 0.5 * (b[name] - a[name])
    assert made[name].dtype == torch.bfloat16 and torch.allclose(made[name].float(), wanted, rtol=1e-2)
    second = parents.parents_of(parents.recipe_in(read_header(sum_)))[1]
    assert second.blend["blend"] == f"blend({base}, {end}, 0.5)"  # the recipe of a parent is kept
    assert json.dumps(second.blend)


def test_refused_in_one_line_with_nothing_written(recorded, standins, tmp_path, capsys):
    base, end = recorded
    out, taken = tmp_path / "out.safetensors", tmp_path / "taken.safetensors"
    taken.write_bytes(b"mine")
    a, b, half, to = f"--a={base}", f"--b={end}", "--ratio=0.5", f"--out={out}"
    cases = [
        ([], "give A=, B=, RATIO= and OUT="),
        ([a, b, half], "give A=, B=, RATIO= and OUT="),
        ([a, b, "--ratio=2", to], "RATIO: 2 is no ratio from 0"),
        ([a, b, half, "--out=x.ckpt"], "OUT=x.ckpt is no .safetensors file"),
        ([a, b, half, f"--out={taken}"], "is there already"),
        ([a, b, half, f"--out={tmp_path / 'no' / 'x.safetensors'}"], "is no folder; make it"),
        ([a, b, half, to, "--dtype=fp8"], "DTYPE=fp8 is unknown"),
        ([a, b, half, to, "--predicts=x"], "PREDICTS=x is unknown"),
        (["--a=base", "--b=base", half, to], "name that run, or the base's file"),
        ([a, "--b=base", half, to], "nothing here says what its run began with"),
        ([a, "--b=25999999", half, to], "there is no run 25999999"),
        ([a, "--b=25022501", half, to], "25022501: run 25022501 has left no checkpoint"),
        ([a, f"--b={standins['sd2']}", half, to], "is SD2; blend two of a kind"),
        ([a, f"--b={standins['sdxl']}", half, to], "is in different dtypes"),
        ([a, f"--b={taken}", half, to], "is not a safetensors file, or is damaged"),
    ]
    before = sorted(tmp_path.rglob("*"))
    for words, line in cases:
        capsys.readouterr()
        assert blend(*words) == 2
        said = [each for each in capsys.readouterr().err.splitlines() if each.startswith("error: ")]
        assert len(said) == 1 and line in said[0], (words, said)
    assert sorted(tmp_path.rglob("*")) == before and taken.read_bytes() == b"mine"
