"""The figures of a validation: the same with both trainers and any number of processes; no training notices."""

import argparse
import json

import pytest
from safetensors.torch import load_file

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.data import DATASET
from extensions.data.loader import Places
from extensions.evaluation import record
from extensions.launch import asked as request
from extensions.launch import batch, tiny
from extensions.logbook.registry import ask
from extensions.plugins import validate
from tests.helpers.launching import launch

RUN = "25022601"
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"
SD_SCRIPTS = pytest.param("sd-scripts", marks=pytest.mark.upstream)
SLOW_SD_SCRIPTS = pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow])
HELD_OUT = ("--validation_count=4", "--validation_strata=2", "--validate_every_n_steps=1")


@pytest.fixture(scope="module")
def halves(standins, tmp_path_factory) -> tuple[str, tuple[str, ...]]:
    """(flag of a training set, flags of a validation set) that share no image: two halves of the stand-in."""
    entries = json.loads(standins["meta_sdxl"].read_text(encoding="utf-8"))
    folder = tmp_path_factory.mktemp("halves")
    for name, keys in {"train": list(entries)[::2], "own": list(entries)[1::2]}.items():
        (folder / f"{name}.json").write_text(json.dumps({key: entries[key] for key in keys}))
    own = (f"--validation_json={folder / 'own.json'}", f"--validation_data_dir={standins['data_sdxl']}")
    return f"--in_json={folder / 'train.json'}", (*own, "--validation_images=3", *HELD_OUT[1:])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Tiny runs of one micro-step an optimizer step; the same words train once."""
    made = {}

    def train(trainer: str, *words: str, plugins: str = f"{PLUGINS},validate", processes: int = 1, steps: int = 2):
        key = (trainer, words, plugins, processes, steps)
        if key not in made:
            flags = " ".join([f"--extensions={plugins}", "--gradient_accumulation_steps=1", *words])
            settings = {"PROFILE": "tiny", "TINY_STEPS": steps, "TRAINER": trainer, "GPUS": processes}
            made[key] = launch(RUN, tmp_path_factory.mktemp("run"), ARGS=flags, **settings)
        assert made[key].code == 0, made[key].said[-3000:]
        return made[key]

    return train


def figures(run) -> dict[int, dict[str, float]]:
    """{optimizer step: {"held_out/x0": figure, …}} of a run's metrics."""
    return {line["optimizer_step"]: flat(line["validation"]) for line in run.metrics if "validation" in line}


def flat(figure, name="") -> dict[str, float]:
    if not isinstance(figure, dict):
        return {name: figure}
    return {at: value for key, each in figure.items() for at, value in flat(each, f"{name}/{key}").items()}


@pytest.mark.parametrize("trainer", ["reference", SLOW_SD_SCRIPTS])
def test_a_run_trains_as_if_nobody_looked(trainer, halves, trained):
    training, validation = halves
    with_it = trained(trainer, training, *validation)
    without = trained(trainer, training, plugins=PLUGINS)
    one, other = (load_file(run.output / "last.safetensors") for run in (with_it, without))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    assert [line["loss"] for line in with_it.metrics if "loss" in line] == [line["loss"] for line in without.metrics]


@pytest.mark.upstream
def test_both_trainers_say_the_same(halves, trained):
    training, validation = halves
    ours, theirs = (figures(trained(trainer, training, *validation)) for trainer in ("reference", "sd-scripts"))
    assert list(ours) == list(theirs) == [0, 1, 2]
    for name, value in ours[0].items():
        assert theirs[0][name] == pytest.approx(value, rel=1e-6), name


@pytest.mark.upstream
def test_both_trainers_record_norms_and_losses_by_stratum(halves, trained):
    training, validation = halves
    runs = [trained(trainer, training, *validation).metrics for trainer in ("reference", "sd-scripts")]
    ours, theirs = ([line for line in lines if "loss" in line] for lines in runs)
    for one, other in zip(ours, theirs, strict=True):
        assert one["loss_by_stratum"].keys() == other["loss_by_stratum"].keys()
        assert list(one["loss_by_stratum"].values()) == [pytest.approx(one["loss"])]
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=0.02)  # bf16


@pytest.mark.slow
@pytest.mark.parametrize("trainer", ["reference", SLOW_SD_SCRIPTS])
def test_before_the_training_the_figures_know_neither_its_seed_nor_its_processes(trainer, halves, trained):
    """The same weights: equal to the last bit."""
    training, validation = halves
    first = figures(trained(trainer, training, *validation))[0]
    other = trained(trainer, training, *validation, "--seed=5", processes=2)
    assert figures(other)[0] == first
    assert figures(other)[2] != first


def test_figures_in_metrics_and_tracker_and_record(halves, trained):
    training, validation = halves
    run = trained("reference", training, *validation)
    found = figures(run)
    for step, known in found.items():
        assert {f"/{column}/x0" for column in ("held_out", "tags", "caption", "empty", "training")} <= known.keys()
        assert ("/difference_to_first/error" in known) is bool(step)
    past = [json.loads(line) for line in (run.output / record.FILE).read_text().splitlines()]
    assert [line["optimizer_step"] for line in past] == [0, 1, 2]
    mean = [sum(line["errors"]) / len(line["errors"]) for line in past]
    assert mean == pytest.approx([found[step]["/held_out/x0"] for step in found], rel=1e-12)
    assert found[2]["/difference_to_first/x0"] == pytest.approx(mean[2] - mean[0], rel=1e-6)
    assert found[2]["/difference_to_previous/x0"] == pytest.approx(mean[2] - mean[1], rel=1e-6)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(next(run.folder.rglob("events.out.tfevents.*")).parent))
    events.Reload()
    shown = events.Scalars("validation/held_out/x0")
    assert [event.step for event in shown] == [0, 1, 2]
    assert [event.value for event in shown] == pytest.approx(mean, rel=1e-6)


def test_held_out_images_are_in_no_batch_of_an_epoch(standins):
    """As `make batch` opens the data and shows the epoch: every other image once."""
    words = f"--extensions={PLUGINS},validate {HELD_OUT[0]}"
    asked = request.read(ask(LAUNCHERS / f"{RUN}.sh"), {"PROFILE": "tiny", "STEP": "1", "ARGS": words})
    dataset = batch.opened(tiny.apply(asked))
    held = {dataset.metadata[row].key for row in dataset.held_out}
    places = Places(dataset, 0, 1, 1, {})
    places.begin(0, 0)
    seen = [dataset.metadata[row].key for place in places for row in place.rows]
    everything = {dataset.metadata[row].key for row in range(len(dataset.metadata))}
    assert len(held) == 4 and sorted(seen) == sorted(everything - held)
    assert places.steps == len(everything) - 4 == dataset.num_train_images


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "validate takes one of .*given: none"),
        ({"validation_share": 0.1, "validation_count": 3}, "given: --validation_share and --validation_count"),
        ({"validation_json": "a.json"}, "--validation_json and --validation_data_dir go together"),
        ({"validation_share": 0.1, "dataset_class": "own.Set"}, "give --dataset_class="),
        ({"validation_share": 0.1, "output_dir": None}, "needs --output_dir"),
    ],
)
def test_what_cannot_be_meant_is_refused(given, said):
    flags = {flag.name: flag.value_of(None) for flag in validate.Plugin.flags}
    args = argparse.Namespace(**flags | {"dataset_class": DATASET, "output_dir": "out"} | given)
    with pytest.raises(UserError, match=said):
        validate.Plugin().check_arguments(args)
    assert manager.is_neutral("validate")
