"""Parents are found by name, and a blend says by digest what they were."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from extensions.averages import parents
from extensions.averages.parents import Parent
from extensions.base import manifest, paths
from extensions.base.errors import UserError
from extensions.flags import blend
from extensions.model import folder
from extensions.model.checkpoint import read_header

RUN, STARTED = "25112201", "2026-03-01T10:00:00+00:00"


@pytest.fixture
def left(tmp_path, monkeypatch):
    """A run with two checkpoints, its record and its base."""
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    output = tmp_path / f"model_out_{RUN}"
    output.mkdir()
    for name, step in (("at", 4), ("last", 8)):
        said = {folder.RUN: RUN, folder.STARTED: STARTED, folder.STEPS: str(step)}
        save_file({"x": torch.full((1,), float(step))}, output / f"{name}.safetensors", said)
    save_file({"x": torch.zeros(1)}, tmp_path / "base.safetensors", {parents.TITLE: "AstolfoMix"})
    record(tmp_path, "first", started="2026-02-01", base_model={})
    record(tmp_path, "second", base_model={"path": str(tmp_path / "base.safetensors"), "sha256": "b" * 64})
    (tmp_path / "logs" / RUN / "broken").mkdir()
    (tmp_path / "logs" / RUN / "broken" / manifest.FILE).write_text("{")
    return tmp_path


def record(where: Path, name: str, started: str = STARTED, **more) -> None:
    launch = where / "logs" / RUN / name
    launch.mkdir(parents=True, exist_ok=True)
    manifest.write(launch, manifest.Manifest(run=RUN, started=started, **more))


def find(where: Path, *names: str) -> list[parents.Found]:
    outputs = lambda run: [where / "elsewhere", where / f"model_out_{run}"]  # noqa: E731
    return parents.find([(name, blend.run_of(name)) for name in names], outputs)


def test_a_run_a_step_a_base_and_a_file(left):
    found = find(left, "base", RUN, f"{RUN}@4", str(left / "base.safetensors"))
    assert [each.header.path.name for each in found] == [
        "base.safetensors", "last.safetensors", "at.safetensors", "base.safetensors",
    ]  # fmt: skip
    assert [each.sha256 for each in found] == ["b" * 64, "", "", ""]


def test_a_base_is_that_of_the_run_beside_it(left):
    """A file in front, which says nothing of a run, is passed over; alone it is asked."""
    stranger, last = str(left / "base.safetensors"), str(left / f"model_out_{RUN}" / "last.safetensors")
    for names in ((stranger, RUN, "base"), (stranger, "base", RUN), ("base", stranger, RUN), ("base", last)):
        found = dict(zip(names, find(left, *names), strict=True))
        assert found["base"].header.path.name == "base.safetensors" and found["base"].sha256 == "b" * 64


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ((f"{RUN}@5", "x"), "25112201@5: run 25112201 has left no checkpoint of optimizer step 5 in"),
        (("25112202", "x"), "25112202: run 25112202 has left no checkpoint in .*; train it, or give the file"),
        (("nowhere.safetensors", "base"), "no such checkpoint: nowhere.safetensors"),
    ],
)
def test_what_is_not_there(left, names, line):
    with pytest.raises(UserError, match=line):
        find(left, *names)


def test_a_base_that_nothing_tells_of(left):
    (left / "base.safetensors").unlink()
    with pytest.raises(UserError, match="base.safetensors, which run 25112201 began with, is not there"):
        find(left, RUN, "base")
    record(left, "second", base_model={})
    with pytest.raises(UserError, match="nothing here says what its run began with; give the base's file"):
        find(left, RUN, "base")


def test_a_base_that_is_another_file_now(left):
    facts = {"bytes": 5, "sha256": "a" * 64}
    with pytest.raises(UserError, match=r"not the file that the run began with \(sha256 aaaaaaaaaaaa…, the record"):
        parents.described(find(left, RUN, "base"), lambda _: facts)
    made = parents.described(find(left, RUN, "base"), lambda path: facts | {"sha256": "b" * 64})
    assert [(each.name, each.run, each.optimizer_steps) for each in made] == [(RUN, RUN, 8), ("base", "", None)]


def test_a_recipe_says_what_was_read_and_is_read_back(tmp_path):
    before = [Parent(RUN, "/a.safetensors", 5, "a" * 64, RUN, 8), Parent("base", "/b.safetensors", 6, "b" * 64)]
    said = parents.recipe("blend(…)", (0.25, 0.75), before)
    assert said[parents.TITLE] == "blend: 0.25 x model_out_25112201 at 8 +0.75 x b.safetensors"
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", said)
    header = read_header(tmp_path / "x.safetensors")
    found = parents.recipe_in(header)
    assert parents.parents_of(found) == before and found["factors"] == [0.25, 0.75]
    child = Parent.of("x", header, 5, "c" * 64)
    assert child.blend == found and child.called.startswith("blend: ")
    assert parents.differing(found, before) == ""
    assert "it was made of aaaaaaaaaaaa" in parents.differing(found, [child, before[1]])
    assert parents.differing(found, before[:1]) == "it has another number of parents"


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"version": 2}', '{"version": 1, "parents": [{}]}'])
def test_a_damaged_recipe_is_one_line(tmp_path, text):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", {parents.RECIPE: text})
    with pytest.raises(UserError, match="its recipe .* cannot be read; make the blend anew"):
        parents.recipe_in(read_header(tmp_path / "x.safetensors"))


def test_a_checkpoint_that_is_no_blend(left):
    assert parents.recipe_in(read_header(left / "base.safetensors")) is None
