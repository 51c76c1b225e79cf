"""Images are drawn when they were asked for, by both trainers, shared over processes; no training notices."""

import argparse
from types import SimpleNamespace

import pytest
from PIL import Image
from safetensors.torch import load_file

from extensions.base.errors import UserError
from extensions.plugins import sample_images
from tests.helpers.launching import launch

RUN = "25022601"
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"
SD_SCRIPTS = pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow])
LONG = ", ".join(f"tag {number}" for number in range(60))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.txt"
    path.write_text(f"a red fox --w 64 --h 96 --s 2 --d 3\n{LONG} --n a blur --w 64 --h 64 --s 2\n")
    return path


def trained(folder, trainer: str, *flags: str, plugins: str = f"{PLUGINS},sample_images", processes: int = 1):
    words = " ".join([f"--extensions={plugins}", "--gradient_accumulation_steps=1", *flags])
    settings = {"PROFILE": "tiny", "TINY_STEPS": 2, "TRAINER": trainer, "GPUS": processes}
    run = launch(RUN, folder, ARGS=words, **settings)
    assert run.code == 0, run.said[-3000:]
    return run


@pytest.mark.parametrize("trainer", ["reference", SD_SCRIPTS])
def test_images_grids_and_a_training_that_did_not_notice(trainer, prompts, standins, tmp_path):
    flags = (f"--sample_prompts={prompts}", "--sample_at_first", "--sample_every_n_steps=1")
    run = trained(tmp_path / "with", trainer, *flags)
    drawn = {str(path.relative_to(run.output)) for path in run.output.glob("samples/*/*.png")}
    assert drawn == {f"samples/step0000000{step}/0{number}-raw.png" for step in range(3) for number in (1, 2)}
    grids = sorted(path.name for path in (run.folder / "samples").iterdir())
    assert grids == [f"step0000000{step}.png" for step in range(3)]
    with Image.open(run.output / "samples/step00000002/01-raw.png") as image:
        assert image.size == (64, 96) and "Seed: 3, Size: 64x96" in image.info["parameters"]
    without = trained(tmp_path / "without", trainer, plugins=PLUGINS)
    one, other = (load_file(each.output / "last.safetensors") for each in (run, without))
    assert all(one[name].equal(tensor) for name, tensor in other.items())


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["reference", SD_SCRIPTS])
def test_processes_draw_what_one_draws(trainer, prompts, standins, tmp_path):
    flags = (f"--sample_prompts={prompts}", "--sample_at_first", "--sample_unconditional=both")
    one, two = (trained(tmp_path / str(n), trainer, *flags, processes=n) for n in (1, 2))
    first = sorted((one.output / "samples/step00000000").iterdir())
    assert len(first) == 4
    for path in first:
        assert path.read_bytes() == (two.output / "samples/step00000000" / path.name).read_bytes()


def args_of(**given) -> argparse.Namespace:
    plain = {name: None for name in sample_images.OF_THE_TRAINER}  # noqa: C420
    more = {flag.name: flag.value_of(None) for flag in sample_images.Plugin.flags}
    return argparse.Namespace(**plain | more | {"output_dir": "out", "sample_at_first": False} | given)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "without --sample_prompts or --sample_captions"),
        ({"sample_captions": 2}, "hold some out"),
        ({"sample_prompts": "p.txt", "sample_sampler": "k_euler_a"}, "draws by Euler; drop the flag"),
        ({"sample_prompts": "p.txt", "output_dir": None}, "needs --output_dir"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, said):
    with pytest.raises(UserError, match=said):
        sample_images.Plugin().check_arguments(args_of(**given))


@pytest.fixture
def plugin():
    made = sample_images.Plugin()
    made.every, made.epochs, made.at_first = 3, None, False
    made.drawn_at = []
    made.draw = lambda run: made.drawn_at.append(run.optimizer_steps)
    return made


def told(plugin, steps: int, folder, asked_at=(), **more) -> list[int]:
    """The optimizer steps at which it drew, of a run of so many."""
    accelerator = SimpleNamespace(is_main_process=True)
    run = SimpleNamespace(
        args=SimpleNamespace(output_dir=str(folder)), accelerator=accelerator, optimizer_steps=0, reported={},
        position=None, optimizer_steps_per_epoch=4, **more,
    )  # fmt: skip
    plugin.evaluate(run=run, ended=False)
    for step in range(1, steps + 1):
        if step in asked_at:
            (folder / sample_images.REQUEST).touch()
        run.optimizer_steps, run.reported = step, plugin.step_reports(run=run)
        plugin.evaluate(run=run, ended=False)
    plugin.evaluate(run=run, ended=True)
    return plugin.drawn_at


def test_every_so_many_steps_on_demand_and_at_the_end(plugin, tmp_path):
    assert told(plugin, 8, tmp_path, asked_at=(4,)) == [3, 4, 6, 8]
    assert not (tmp_path / sample_images.REQUEST).exists()


def test_first_and_every_epoch(plugin, tmp_path):
    plugin.at_first, plugin.epochs = True, 1
    assert told(plugin, 8, tmp_path) == [0, 4, 8]


def test_epochs_count_from_where_the_data_begin(plugin, tmp_path):
    """A run whose first steps count as done without data: its epochs end four optimizer steps after these."""
    plugin.epochs = 1
    run = SimpleNamespace(
        optimizer_steps=0, optimizer_steps_per_epoch=4, position=SimpleNamespace(places=SimpleNamespace(ahead=3))
    )
    found = []
    for run.optimizer_steps in range(3, 12):
        found += [run.optimizer_steps] if plugin.due(run) else []
    assert found == [7, 11]


def test_a_failure_is_told_and_the_training_goes_on(prompts, standins, tmp_path):
    """A folder that cannot be made: a file stands there."""
    (tmp_path / f"model_out_{RUN}").mkdir()
    (tmp_path / f"model_out_{RUN}" / "samples").write_text("")
    run = trained(tmp_path, "reference", f"--sample_prompts={prompts}")
    assert "sample_images: process 0: no images: " in run.said and "Traceback" not in run.said
    assert (run.output / "last.safetensors").is_file()
