"""Averages around a run of a few steps: nothing of it changes, states go on exactly, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from extensions import manager
from extensions.averages import profiles, snapshots
from extensions.base.errors import UserError
from extensions.resume import states
from tests.helpers.small_trainer import PLUGINS, flags, same, train

WITH = f"{PLUGINS},ema"


def given(folder, *words, extensions=WITH, **changed):
    return flags(folder, *words, extensions=extensions, save_every_n_steps=None, **changed)


def of_state(folder, step):
    """{name: tensor} of the averages in a state."""
    path = states.folder_of(folder) / states.name_of(step)
    states.verify(states.read(path))
    found = {}
    for file in path.glob("ema-*.safetensors"):
        found |= load_file(file)
    return found


def test_a_run_is_the_same_bit_for_bit_with_it(tmp_path):
    without = train(flags(tmp_path / "0", max_train_steps=6))
    found = train(given(tmp_path / "1", "--ema_every_n_steps=1", "--ema_decay=0.9", max_train_steps=6))
    assert same(without.weights, found.weights) and without.losses == found.losses
    kept = [states.read(states.folder_of(tmp_path / name) / states.name_of(6)).facts for name in "01"]
    assert all(kept[1].files[name] == entry for name, entry in kept[0].files.items())
    assert kept[1].files.keys() - kept[0].files.keys() == {"ema.safetensors", "ema-0.safetensors"}


@pytest.mark.parametrize(("every", "stop"), [(1, 3), (2, 3), (3, 5), (4, 2)])
def test_stopped_and_resumed_the_averages_are_those_of_the_unbroken_run(tmp_path, every, stop):
    words = (f"--ema_every_n_steps={every}", "--ema_decay=0.9", "--ema_snapshots=3")
    whole = train(given(tmp_path / "whole", *words))
    train(given(tmp_path / "broken", *words, f"--stop_at_step={stop}"))
    state = states.folder_of(tmp_path / "broken") / states.name_of(stop)
    second = train(given(tmp_path / "broken", *words, "--resume_mode=exact", f"--resume_from={state}"))
    assert same(whole.weights, second.weights)
    one, other = (states.read(states.folder_of(tmp_path / name) / states.name_of(8)) for name in ("whole", "broken"))
    assert one.facts.files == other.facts.files
    tensors = of_state(tmp_path / "broken", 8)
    assert {name.split("@")[0] for name in tensors} == {f"state.{n}" for n in ("anchor", "0.05", "0.10", "decay0.9")}


def test_the_averages_in_a_state_are_those_of_the_weights_that_were_saved(tmp_path):
    """Replayed in float64 from the states of every step."""
    train(given(tmp_path, "--ema_every_n_steps=1", max_train_steps=7, states_every_n_steps=1, keep_states=9))
    average = None
    for step in range(1, 8):
        file = states.folder_of(tmp_path) / states.name_of(step) / "U-Net.safetensors"
        weights = load_file(file)["state.0.weight"].double().flatten()
        keep = profiles.Power(0.10).keep(step - 1, step)
        average = weights if average is None else keep * average + (1 - keep) * weights
    found = of_state(tmp_path, 7)
    name = "model.diffusion_model.0.weight|0|96"
    ours = found[f"state.anchor@{name}"].double() + found[f"state.0.10@{name}"].double()
    assert (ours - average).abs().max() < 1e-6 * average.abs().max()


def test_a_run_may_gain_it_and_says_from_where_it_averages(tmp_path, capsys):
    whole = train(flags(tmp_path / "whole"))
    train(flags(tmp_path / "broken", "--stop_at_step=3"))
    state = states.folder_of(tmp_path / "broken") / states.name_of(3)
    resume = ("--resume_mode=exact", f"--resume_from={state}")
    capsys.readouterr()
    train(given(tmp_path / "broken", *resume, "--ema_every_n_steps=1", "--stop_at_step=5"))
    said = capsys.readouterr().out
    assert "ema: the state has no averages; they begin at optimizer step 3" in said
    assert "ema: 0.05 from optimizer step 3, 0.10 from optimizer step 3, of " in said
    later = states.folder_of(tmp_path / "broken") / states.name_of(5)
    assert "ema-0.safetensors" in states.read(later).facts.files
    third = train(flags(tmp_path / "broken", "--resume_mode=exact", f"--resume_from={later}"))
    assert same(whole.weights, third.weights)
    last = states.read(states.folder_of(tmp_path / "broken") / states.name_of(8))
    assert not {"ema.safetensors", "ema-0.safetensors"} & set(last.facts.files)


def test_another_decay_begins_with_it_and_the_others_go_on(tmp_path, capsys):
    train(given(tmp_path, "--stop_at_step=4", "--ema_every_n_steps=1", "--ema_decay=0.9"))
    state = states.folder_of(tmp_path) / states.name_of(4)
    train(
        given(tmp_path, "--resume_mode=exact", f"--resume_from={state}", "--ema_every_n_steps=2", "--ema_decay=0.8")
    )
    assert "0.05 from optimizer step 0, 0.10 from optimizer step 0, decay0.8 from optimizer step 4" in (
        capsys.readouterr().out
    )


def test_snapshots_are_kept_over_the_run_and_none_where_none_are_asked_for(tmp_path):
    train(given(tmp_path / "a", "--ema_every_n_steps=1", "--ema_snapshots=4"))
    assert [each.step for each in snapshots.usable(tmp_path / "a" / "ema")] == [2, 4, 6, 8]
    train(given(tmp_path / "b", "--ema_every_n_steps=3", "--ema_snapshots=2"))
    assert [each.step for each in snapshots.usable(tmp_path / "b" / "ema")] == [6]
    train(given(tmp_path / "c", "--ema_every_n_steps=1", "--ema_snapshots=0"))
    assert not (tmp_path / "c" / "ema").exists()


def test_a_plugin_that_evaluates_sees_the_averages_and_trains_on_as_before(tmp_path, monkeypatch):
    class Looks:
        seen = []

        @manager.hookspecs.hookimpl
        def evaluate(self, run, ended):
            for each in manager.current().hook.averages(run=run):
                for name, show in each.items():
                    before = [p.detach().clone() for p in run.optimizer.param_groups[0]["params"]]
                    with show():
                        self.seen.append((run.optimizer_steps, name))
                        now = run.optimizer.param_groups[0]["params"]
                        if run.optimizer_steps > 2:
                            assert not same(before, now)
                    assert same(before, run.optimizer.param_groups[0]["params"])

    without = train(flags(tmp_path / "0", max_train_steps=5))
    install = manager.install
    monkeypatch.setattr(
        manager, "install", lambda names: (found := install(names), found.register("looks", Looks()))[0]
    )
    found = train(given(tmp_path / "1", "--ema_every_n_steps=1", "--ema_decay=0.5", max_train_steps=5))
    assert same(without.weights, found.weights) and without.losses == found.losses
    assert [name for step, name in Looks.seen if step == 5][:3] == ["ema-0.05", "ema-0.10", "ema-decay0.5"]


def test_a_damaged_state_is_told(tmp_path):
    train(given(tmp_path, "--stop_at_step=4", "--ema_every_n_steps=1"))
    state = states.folder_of(tmp_path) / states.name_of(4)
    description = states.read(state)
    files = {name: entry for name, entry in description.facts.files.items() if name != "ema-0.safetensors"}
    (state / "state.json").write_text(replace(description.facts, files=files).to_json())
    with pytest.raises(
        UserError, match=r"its averages are damaged \(it has not all of anchor\); take an older state"
    ):
        train(given(tmp_path, "--resume_mode=exact", f"--resume_from={state}"))


@pytest.mark.parametrize(
    ("words", "changed", "line"),
    [
        (["--ema_every_n_steps=0"], {}, "--ema_every_n_steps: '0' is not a whole number from 1 up"),
        (["--ema_decay=1"], {}, "--ema_decay: '1' is not a decay above 0 and below 1"),
        (["--ema_decay=nan"], {}, "--ema_decay: 'nan' is not a number"),
        (["--ema_snapshots=-1"], {}, "--ema_snapshots: '-1' is not a whole number from 0 up"),
        ([], dict(save_model_as="ckpt"), "--save_model_as=ckpt: averages are saved as safetensors; drop it"),
        ([], dict(deepspeed=True, zero_stage=3), "--zero_stage=3 divides the weights"),
        ([], dict(output_dir=None), "needs --output_dir"),
    ],
)
def test_refused(tmp_path, words, changed, line):
    with pytest.raises(UserError, match=line):
        train(given(tmp_path, *words, **changed))


def test_on_a_gpu_the_next_step_waits_for_the_copy(tmp_path):
    """Told by the optimizer's step itself, whatever other plugins have made of it."""
    found = []
    plugin = manager.declared("ema")()
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=1.0)
    plugin.optimizer_built(optimizer=optimizer)
    optimizer.step()
    plugin.begun, plugin.tracks = True, SimpleNamespace(before_step=lambda: found.append("waited"))
    optimizer.step()
    assert found == ["waited"]
