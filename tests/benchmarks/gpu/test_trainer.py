"""Which flags and variables a stage's training process is given."""

import pytest

from benchmarks.gpu import trainer
from benchmarks.gpu.setting import LeftOutError, Setting
from extensions import manager


def setting(tmp_path, tiny=False, device="cuda") -> Setting:
    return Setting(device, tiny, tmp_path, 0.0, lambda *_: None, lambda *_: None)


def test_ours_has_the_templates_plugins(tmp_path):
    flags = trainer.flags_of(setting(tmp_path), trainer.RUNS["ours"])
    assert "bf16_updates" in flags.get("extensions") and flags.get("bf16_updates") == "stochastic"
    assert flags.number("gradient_accumulation_steps") == trainer.ACCUMULATION
    assert flags.get("unet_percent") == "71" and "xformers" not in flags and "sdpa" in flags
    assert flags.number("states_every_n_steps") + 1 == flags.number("max_train_steps") == 7


@pytest.mark.parametrize("name", ["pristine", "without-plugins"])
def test_no_plugins_flag_is_left_without_its_plugin(tmp_path, name):
    flags = trainer.flags_of(setting(tmp_path), trainer.RUNS[name])
    of_plugins = {flag.name for flag in manager.flags_of(manager.available())}
    assert not set(flags.values) & {"extensions", *of_plugins} and "gradient_checkpointing" in flags


def test_what_is_recomputed_is_chosen_after_two_optimizer_steps(tmp_path):
    held = setting(tmp_path)
    ours, auto = (trainer.flags_of(held, trainer.RUNS[name]) for name in ("ours", "recompute-auto"))
    assert (ours.get("recompute"), auto.get("recompute")) == ("all", "auto")
    assert auto.number("max_train_steps") == ours.number("max_train_steps") + 2
    first, last = (
        int(trainer.environment(held, trainer.RUNS["recompute-auto"])[n]) for n in ("COUNT_FROM", "COUNT_TO")
    )
    assert (first, last) == (25, 29)


def test_a_resumed_run_goes_on_from_the_state_before_the_last(tmp_path):
    held = setting(tmp_path, tiny=True, device="cpu")
    ours, resumed = (trainer.flags_of(held, trainer.RUNS[name]) for name in ("ours", "resumed"))
    assert resumed.get("resume_from") == str(tmp_path / "ours/states/step00000004")
    assert resumed.number("max_train_steps") == ours.number("max_train_steps") == 5


def test_waits_are_counted_in_one_optimizer_step_that_saves_nothing(tmp_path):
    held = setting(tmp_path)
    ours, pristine = (trainer.environment(held, trainer.RUNS[name]) for name in ("ours", "pristine"))
    first, last = int(ours["COUNT_FROM"]), int(ours["COUNT_TO"])
    # From within one accumulation to the same place in the next: one update, that of the fifth optimizer step.
    assert (first, last) == (17, 21) and first // 4 == 4 and "STOP_AFTER" not in ours
    assert trainer.flags_of(held, trainer.RUNS["ours"]).number("states_every_n_steps") == 6
    assert pristine["STOP_AFTER"] == pristine["COUNT_TO"] == "21"
    assert "COUNT_FROM" not in trainer.environment(held, trainer.RUNS["resumed"])


def test_a_carried_tree_will_do_where_the_submodule_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr("extensions.upstream.submodule.is_present", lambda: False)
    monkeypatch.setattr(trainer, "PATCHED", tmp_path)
    with pytest.raises(LeftOutError, match="sd-scripts-runtime/patched"):
        trainer.tree_of(trainer.RUNS["ours"])
    (tmp_path / "sdxl_train.py").touch()
    assert trainer.tree_of(trainer.RUNS["ours"]) == tmp_path
    with pytest.raises(LeftOutError, match="pristine"):
        trainer.tree_of(trainer.RUNS["pristine"])
