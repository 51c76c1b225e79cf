"""What the tiny profile changes, and that it says so."""

from pathlib import Path

import pytest

from extensions.launch import processor, tiny
from extensions.launch.stages import Asked
from tests.helpers import asking


@pytest.fixture(autouse=True)
def ready(monkeypatch):
    names = ("tokenizers", "sdxl", "sd2", "meta_sdxl", "data_sdxl", "meta_sd2", "data_sd2")
    monkeypatch.setattr(tiny, "standins", lambda: {name: Path("standins") / name for name in names})
    monkeypatch.setattr(processor, "has_bf16", lambda: True)


BASE = "out/model_out_1/at-step00040000.safetensors"


def asked(*flags, base=BASE, facts=("GPUS=4", "RAMDISK=1", "NUMA=0"), **environment) -> Asked:
    base = f"--pretrained_model_name_or_path={base}"
    return tiny.apply(asking.asked(base, *flags, run="2", facts=facts, PROFILE="tiny", **environment))


def test_model_data_steps_and_processes():
    made = asked("--max_train_epochs=10", "--xformers", "--learning_rate=1e-6", "--save_every_n_epochs=1")
    flags = made.flags.as_dict()
    assert flags["pretrained_model_name_or_path"] == "standins/sdxl"
    assert flags["in_json"] == "standins/meta_sdxl" and flags["train_data_dir"] == "standins/data_sdxl"
    assert flags["max_train_steps"] == "8" and "max_train_epochs" not in flags
    assert "xformers" not in flags and flags["sdpa"] is True
    assert flags["learning_rate"] == "1e-6" and flags["save_every_n_epochs"] == "1"
    assert made.gpus == 1 and "tiny: 1 process instead of 4; GPUS=4 starts as many" in made.notes
    assert "tiny: --max_train_epochs: 10 -> (not set)" in made.notes


def test_stand_ins_have_no_scores_and_data_of_ones_own_may():
    scored = ("--extensions=dual_tag", "--dual_tag=tags", "--dual_tag_score_field=s", "--dual_tag_score_tags=1=a")
    made = asked(*scored)
    assert "dual_tag_score_field" not in made.flags and "dual_tag" in made.flags
    assert "tiny: --dual_tag_score_field: s -> (not set)" in made.notes
    made = asked(*scored, ARGS="--in_json=mine.json")
    assert made.flags.get("dual_tag_score_field") == "s" and made.flags.get("in_json") == "mine.json"


def test_gpus_of_the_caller_become_processes():
    assert asked(facts=("GPUS=2",), GPUS="2").gpus == 2


def test_the_launchers_ramdisk_and_node_stay_where_the_machine_has_them(monkeypatch):
    monkeypatch.setattr(tiny.numa, "missing", lambda node: "")
    made = asked()
    assert (made.ramdisk, made.numa) == (True, 0)
    monkeypatch.setattr(tiny.numa, "missing", lambda node: "no such node")
    made = asked()
    assert (made.ramdisk, made.numa) == (True, None)
    assert "tiny: not bound to NUMA node 0: no such node" in made.notes


def test_a_node_that_the_caller_names_is_not_dropped(monkeypatch):
    monkeypatch.setattr(tiny.numa, "missing", lambda node: "no such node")
    assert asked(facts=("NUMA=7",), NUMA="7").numa == 7


def test_segments_keep_their_place():
    made = asked("--initial_step=100000", "--stop_at_step=170000", "--save_every_n_steps=10000", TINY_STEPS="20")
    flags = made.flags
    assert [flags.number(n) for n in ("initial_step", "stop_at_step", "save_every_n_steps")] == [10, 17, 1]
    capped = asked("--initial_step=100000", "--stop_at_step=170000", TINY_STEPS="2").flags
    assert capped.number("stop_at_step") == capped.number("max_train_steps") == 12


def test_parent_where_it_has_run(tmp_path):
    folder = tmp_path / "model_out_1"
    folder.mkdir()
    (folder / "at-step00000004.safetensors").touch()
    words = {"base": folder / "at-step00040000.safetensors", "facts": ("PARENT=1",)}
    made = asked("--initial_step=40000", **words)
    assert made.flags.get("pretrained_model_name_or_path").endswith("model_out_1/at-step00000004.safetensors")
    (folder / "at-step00000004.safetensors").unlink()
    made = asked("--initial_step=40000", **words)
    assert made.flags.get("pretrained_model_name_or_path") == "standins/sdxl"
    assert any("parent 1 has left no at-step00000004" in note for note in made.notes)


def test_a_cpu_without_bf16_gets_its_plugin(monkeypatch):
    monkeypatch.setattr(processor, "has_bf16", lambda: False)
    assert asked("--extensions=dual_tag", "--full_bf16").flags.get("extensions") == "dual_tag,cpu_bf16"
    assert asked("--extensions=dual_tag").flags.get("extensions") == "dual_tag"
