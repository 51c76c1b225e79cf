"""Averages in tiny runs of both trainers: weights as without them, files beside checkpoints, resume and processes."""

import shutil

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from extensions.averages import profiles
from extensions.resume import states
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
RUN = "25022601"
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"
EMA = f"--extensions={PLUGINS},ema --ema_every_n_steps=1"


def trained(output, args=EMA, steps=3, **more):
    done = launch(RUN, output, PROFILE="tiny", TINY_STEPS=steps, ARGS=args, **more)
    assert done.code == 0, done.said[-3000:]
    return done


def averages(state):
    """{what@tensor: its elements} of a state, however many ranks wrote it."""
    found: dict[str, dict[int, torch.Tensor]] = {}
    for path in state.path.glob("ema-*.safetensors"):
        for name, tensor in load_file(path).items():
            key, first, _ = name.split("|")
            found.setdefault(key, {})[int(first)] = tensor
    return {key: torch.cat([parts[first] for first in sorted(parts)]) for key, parts in found.items()}


def newest(done):
    return states.newest_good(states.folder_of(done.output))


@pytest.mark.slow
@pytest.mark.parametrize(
    "trainer",
    [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"],
)
def test_a_run_has_the_same_weights_and_averages_beside_its_checkpoints(trainer, tmp_path):
    """Stopped after its second step and resumed, held against one without the plugin; ends in its second epoch."""
    steps = "--save_every_n_steps=1 --save_precision=float --states_every_n_steps=1 --keep_states=9"
    without = trained(tmp_path / "0", f"--extensions={PLUGINS} {steps}", TRAINER=trainer)
    trained(tmp_path / "1", f"{EMA} {steps} --stop_at_step=2", TRAINER=trainer)
    found = trained(tmp_path / "1", f"{EMA} {steps}", TRAINER=trainer, RESUME="auto")
    one, other = newest(without).facts.files, newest(found).facts.files
    assert {name: other[name] for name in one} == one
    assert other.keys() - one.keys() == {"ema.safetensors", "ema-0.safetensors"}
    last, before = load_file(found.output / "last.safetensors"), load_file(without.output / "last.safetensors")
    assert all(torch.equal(last[name], tensor) for name, tensor in before.items())
    replay(found.output, last)


def replay(output, last):
    """The averages beside the last checkpoint, from those beside each step's weights, in float64."""
    weights = [load_file(output / f"at-step{step:08d}.safetensors") for step in (1, 2, 3)]
    for length in profiles.LENGTHS:
        name = profiles.Power(length).name
        ours = load_file(output / f"last.ema-{name}.safetensors")
        assert {key: (each.shape, each.dtype) for key, each in ours.items()} == {
            key: (each.shape, each.dtype) for key, each in last.items()
        }
        moved = 0
        for key, tensor in ours.items():
            average = weights[0][key].double()
            for step, each in enumerate(weights[1:], start=2):
                keep = profiles.Power(length).keep(step - 1, step)
                average = keep * average + (1 - keep) * each[key].double()
            if all(torch.equal(each[key], weights[0][key]) for each in weights):
                assert torch.equal(tensor, last[key])  # what does not train has the base's bits
                continue
            moved += 1
            assert (tensor.double() - average).abs().max() <= 1e-6 * average.abs().max()
        assert moved > 100
        with safe_open(output / f"last.ema-{name}.safetensors", "pt") as file:
            said = file.metadata()
        assert said["sdxl_trainer.average"] == name and said["sdxl_trainer.run"] == RUN
        assert said["modelspec.title"].endswith(f".ema-{name}")
        steps = sorted(path.name for path in output.glob(f"at-step*.ema-{name}.safetensors"))
        assert steps == [f"at-step{step:08d}.ema-{name}.safetensors" for step in (1, 2, 3)]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(("run", "more"), [("25022601", ""), ("25022301", "--dynamo_backend=eager")])
def test_two_processes_have_half_each_and_go_on_exactly(trainer, run, more, tmp_path, monkeypatch):
    """DDP in bf16, and ZeRO-2."""
    monkeypatch.setitem(globals(), "RUN", run)
    plugins = EMA.replace(",ema", ",dynamo,ema") if "dynamo" in more else EMA
    args = f"{plugins} --ema_decay=0.9 --save_every_n_steps=2 {more}"
    whole = trained(tmp_path / "whole", args, steps=4, TRAINER=trainer, GPUS=2)
    trained(tmp_path / "broken", f"{args} --stop_at_step=3", steps=4, TRAINER=trainer, GPUS=2)
    found = trained(tmp_path / "broken", args, steps=4, TRAINER=trainer, GPUS=2, RESUME="auto")
    one, other = newest(whole), newest(found)
    assert one.facts.files == other.facts.files
    sizes = [one.facts.files[f"ema-{rank}.safetensors"]["bytes"] for rank in (0, 1)]
    assert abs(sizes[0] - sizes[1]) < 0.03 * sum(sizes)
    for name in ("0.05", "0.10", "decay0.9"):
        files = [done.output / f"last.ema-{name}.safetensors" for done in (whole, found)]
        assert all(torch.equal(*pair) for pair in zip(*(load_file(file).values() for file in files), strict=True))
    assert not list(found.output.glob(".*part*"))


@pytest.mark.slow
def test_averages_of_two_processes_go_on_with_one_on_the_same_global_batch(tmp_path):
    """No update falls between: the averages are handed on bit for bit."""
    args = f"{EMA} --ema_every_n_steps=2"
    first = trained(tmp_path, f"{args} --stop_at_step=2", steps=4, TRAINER="reference", GPUS=2)
    wanted = averages(newest(first))
    more = "--gradient_accumulation_steps=8 --resume_allow=processes,flags --stop_at_step=3"
    second = trained(tmp_path, f"{args} {more}", steps=4, TRAINER="reference", GPUS=1, RESUME="auto")
    state = newest(second)
    found = averages(state)
    assert state.optimizer_steps == 3 and "ema-1.safetensors" not in state.facts.files
    assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_what_a_kill_has_cost_beside_a_checkpoint_is_written_when_the_run_goes_on(tmp_path):
    done = trained(tmp_path, f"{EMA} --save_every_n_steps=2 --stop_at_step=2", TRAINER="reference")
    path = done.output / "at-step00000002.ema-0.10.safetensors"
    content = load_file(path)
    path.unlink()
    shutil.rmtree(done.output / "ema")
    trained(tmp_path, EMA, TRAINER="reference", RESUME="auto")
    assert all(torch.equal(content[name], tensor) for name, tensor in load_file(path).items())
