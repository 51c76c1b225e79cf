"""A launch's stages: each knows what the one before knew, and none is written on."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from extensions.base.errors import UserError
from extensions.flags.words import Flags
from extensions.launch import __main__ as launch
from extensions.launch import command, processor, ramdisk, resume, run_folder, tiny, trainer
from extensions.launch.stages import Asked, Resolved, Staged, Started, become, changed
from extensions.resume import skipped, states
from extensions.resume.description import Description
from tests.helpers import asking
from tests.helpers.ramdisk_cases import launch as launched

STARTED = Started(asking.staged(asking.asked("--seed=1")), Path("folder"), ("python",), {"A": "1"})
STAGES = [asking.asked("--seed=1"), asking.resolved(asking.asked("--seed=1")), STARTED.staged, STARTED]


def contents(stage) -> dict:
    """What a stage holds, as values that a later write cannot reach."""
    held = {field.name: getattr(stage, field.name) for field in fields(stage)}
    return {name: tuple(value.words()) if isinstance(value, Flags) else value for name, value in held.items()}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: type(stage).__name__)
def test_no_field_can_be_set(stage):
    before = contents(stage)
    for name in before:
        with pytest.raises(FrozenInstanceError):
            setattr(stage, name, None)
    assert contents(stage) == before


def test_flags_of_a_stage_cannot_be_put_in():
    made = asking.asked("--seed=1")
    with pytest.raises(TypeError):
        made.flags.values["seed"] = ["2"]


def test_a_later_stage_is_the_earlier_one_with_more():
    asked = asking.asked("--seed=1", "--xformers", facts=("GPUS=3", "NUMA=1"), ARGS="--sdpa", RESUME="auto")
    assert asked.notes
    resolved = become(Resolved, asked, resumed=True, notes=["found"])
    staged = become(Staged, resolved, held=(7,))
    assert isinstance(staged, Resolved) and isinstance(resolved, Asked)
    assert contents(resolved) == contents(asked) | {"state": None, "resumed": True, "notes": (*asked.notes, "found")}
    assert contents(staged) == contents(resolved) | {"sources": (), "held": (7,)}


def test_what_is_no_field_of_a_stage_is_refused():
    with pytest.raises(TypeError, match="held"):
        become(Resolved, asking.asked(), held=(7,))
    with pytest.raises(TypeError, match="gpu"):
        changed(asking.asked(), gpu=2)


def test_a_change_is_another_object_of_the_same_stage_and_notes_add_up():
    first = asking.resolved(asking.asked())
    second = changed(first, gpus=4, notes=["one"])
    third = changed(second, notes=["two", "three"])
    assert (first.gpus, first.notes) == (1, ()) and type(third) is Resolved
    assert (second.gpus, second.notes) == (4, ("one",)) and third.notes == ("one", "two", "three")
    assert contents(third) == contents(first) | {"gpus": 4, "notes": third.notes}


def test_settings_are_those_of_a_stage_s_own_flags():
    """They are made once and kept, which must not outlive a change."""
    first = asking.asked("--max_train_steps=5")
    assert first.settings.max_steps == 5 and first.settings is first.settings
    assert changed(first, flags=first.flags.with_("max_train_steps", 6)).settings.max_steps == 6
    assert changed(first, gpus=2).settings == first.settings and first.settings.max_steps == 5
    with pytest.raises(UserError, match="--max_train_steps=none is not a whole number"):
        _ = asking.asked("--max_train_steps=none").settings


def test_what_follows_from_the_fields():
    two = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "a"}
    assert asking.asked(facts=("GPUS=3",), **two).processes == 6 and asking.asked(facts=("GPUS=3",)).processes == 3
    assert asking.asked(run="1").output == Path("model_out_1")
    assert (
        asking.asked("--output_dir=a b").output == asking.asked("--output_dir=a b").path("output_dir") == Path("a b")
    )
    with pytest.raises(UserError, match=r"^train/1.sh has no --in_json$"):
        asking.asked(run="1").path("in_json")


def test_a_source_is_what_the_flag_named_before_it_was_copied():
    staged = asking.staged(asking.asked("--in_json=/shm/x.arrow", "--train_data_dir=latents"))
    staged = changed(staged, sources=(("in_json", Path("/disk/meta.json")),))
    assert staged.source("in_json") == Path("/disk/meta.json") and staged.path("in_json") == Path("/shm/x.arrow")
    assert staged.source("train_data_dir") == Path("latents")
    with pytest.raises(UserError, match="has no --pretrained_model_name_or_path"):
        staged.source("pretrained_model_name_or_path")


@pytest.fixture
def standing(tmp_path, monkeypatch):
    """A machine where each step of a launch changes something: no bf16 units, no NUMA, no sd-scripts, no xformers."""
    names = ("tokenizers", "sdxl", "sd2", "meta_sdxl", "data_sdxl", "meta_sd2", "data_sd2")
    monkeypatch.setattr(tiny, "standins", lambda: {name: tmp_path / name for name in names})
    monkeypatch.setattr(processor, "has_bf16", lambda: False)
    monkeypatch.setattr(tiny.numa, "missing", lambda node: "no such node")
    monkeypatch.setattr(launch.attention, "fault_of_xformers", lambda: "xformers is not installed")
    monkeypatch.setattr(trainer.submodule, "ensure", lambda: (_ for _ in ()).throw(UserError("no route; go online")))
    monkeypatch.setenv("RAMDISK_DIR", str(tmp_path))
    monkeypatch.setattr(ramdisk, "is_tmpfs", lambda _: False)
    return tmp_path


def through(asked: Asked, folder: Path):
    """Each stage of a launch in turn, as `launch` makes them."""
    yield asked
    yield (asked := tiny.apply(asked))
    yield (asked := launch.prepare(asked))
    yield (resolved := resume.apply(asked))
    yield (resolved := trainer.settle(resolved))
    with ramdisk.staged(resolved, (7,)) as staged:
        yield staged
        yield (staged := resume.set_aside(staged))
        launch.complete(staged, folder, None)
        assert resume.rolled_back(staged, folder).flags != staged.flags


@pytest.mark.parametrize("environment", [{"RESUME": "auto"}, {"FORCE": "1"}, {"ARGS": "--sdpa --output_name=x"}])
def test_no_step_writes_on_the_stage_before_it(environment, standing):
    words = ["--full_bf16", "--mixed_precision=bf16", "--xformers", "--extensions=resume_at_step,save_states"]
    words += ["--pretrained_model_name_or_path=base", f"--output_dir={standing / 'out'}", "--initial_step=40000"]
    own, named = (states.begin(states.folder_of(standing / name), 6) for name in ("out", "named"))
    states.commit(own, Description(6), {})
    state = states.commit(named, Description(6), {})
    (standing / skipped.REQUEST).write_text(f'{{"optimizer_step": 7, "samples": ["a"], "state": "{state.path}"}}')
    seen = []
    facts = ("GPUS=4", "NUMA=0", "RAMDISK=1")
    for stage in through(asking.asked(*words, facts=facts, PROFILE="tiny", **environment), standing):
        seen.append((stage, contents(stage)))
    assert all(contents(stage) == before for stage, before in seen)
    assert [type(stage) for stage, _ in seen] == [Asked] * 3 + [Resolved] * 2 + [Staged] * 2
    assert len({str(before) for _, before in seen}) > 4, "steps that change nothing show nothing"


def test_what_is_started_has_the_run_folder_in_its_words_alone(inputs, monkeypatch):
    monkeypatch.setattr(run_folder, "LOGS", inputs / "logs")
    monkeypatch.setattr(run_folder, "RUNTIME", inputs)
    staged = asking.staged(changed(launched(inputs), trainer="reference", cpu=True))
    started = launch.start(staged, None)
    assert started.staged is staged and "run_folder" not in staged.flags
    assert started.folder.parent == inputs / "logs" / "1" and f"--run_folder={started.folder}" in started.words
    assert started.words[1:4] == ("-m", "extensions.reference", "sdxl_train.py")
    assert started.environment == command.environment(staged)
    assert {path.name for path in started.folder.iterdir()} >= {"command.sh", "manifest.json"}
