"""Stopped and resumed, a run ends with the weights of the unbroken one: with each trainer, engine and precision."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import time

import psutil
import pytest

from extensions.base.paths import LAUNCHERS
from extensions.base.shared_exit import ONE_REQUEST
from extensions.data.index import open_for
from extensions.data.order import EpochOrder
from extensions.launch import processor
from extensions.launch.child import trainers
from extensions.resume import states
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
STEPS = 3


def last(done):
    """The newest state of a run: {file: checksum}, and its counters."""
    state = states.newest_good(states.folder_of(done.output))
    counted = {key: getattr(state.facts, key) for key in ("optimizer_steps", "micro_steps", "samples", "epoch")}
    return state.facts.files, counted


def trained(output, run, steps_of_first, steps=STEPS, **environment):
    """(the unbroken run, the run that is stopped after so many optimizer steps and then resumed)."""
    environment = {"PROFILE": "tiny", "TINY_STEPS": steps} | environment
    whole = launch(run, output / "whole", **environment)
    words = environment.pop("ARGS", "")
    first = launch(run, output / "broken", ARGS=f"{words} --stop_at_step={steps_of_first}", **environment)
    second = launch(run, output / "broken", ARGS=words, RESUME="auto", **environment)
    for done in (whole, first, second):
        assert done.code == 0, done.said[-3000:]
    assert [line["optimizer_step"] for line in second.metrics] == list(range(steps_of_first + 1, steps + 1))
    return whole, first, second


@pytest.mark.parametrize(
    "trainer",
    [pytest.param("sd-scripts", marks=pytest.mark.upstream), pytest.param("reference", marks=pytest.mark.slow)],
)
def test_one_process_with_accumulation(trainer, tmp_path):
    """Full bf16, AdamW8bit, both encoders, dual tags, chunks, two workers."""
    whole, first, second = trained(tmp_path, "25022601", 1, TRAINER=trainer, ARGS="--max_data_loader_n_workers=2")
    assert last(second) == last(whole)
    losses = [line["loss"] for done in (first, second) for line in done.metrics]
    assert losses == [line["loss"] for line in whole.metrics]
    assert second.metrics[-1]["samples"] == whole.metrics[-1]["samples"] == STEPS * 4
    assert (second.output / "last.safetensors").is_file() and "is restored" in second.said


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_past_corrupt_latents_before_and_after_the_stop(trainer, standins, tmp_path):
    """What takes a corrupt sample's place is a function of its row: the resumed run trains on the same images."""
    folder = tmp_path / "broken"
    shutil.copytree(standins["data_sdxl"], folder)
    images = open_for(standins["meta_sdxl"], folder)
    order = EpochOrder(images.bucket, 1, seed=24120801, epoch=0)
    keys = [images[int(order.batch(step)[0])].key for step in range(2)]
    for key in keys:
        (folder / f"{key}.npz").write_bytes(b"broken")
    plugins = "dual_tag,resume_at_step,save_states,record_run,bad_sample" + (
        "" if processor.has_bf16() else ",cpu_bf16"
    )
    args = f"--train_data_dir={shlex.quote(str(folder))} --extensions={plugins} --bad_sample=skip"
    runs = trained(tmp_path, "24120801", 1, TRAINER=trainer, ARGS=args)
    skipped = [[key for key in keys if f"bad_sample: skipped {key!r}" in done.said] for done in runs]
    assert skipped == [keys, keys[:1], keys[1:]]
    whole, first, second = runs
    assert last(second) == last(whole)
    assert [line["loss"] for done in (first, second) for line in done.metrics] == [x["loss"] for x in whole.metrics]


@pytest.mark.slow
@pytest.mark.parametrize(
    "trainer", [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"]
)
def test_stopped_by_corrupt_latents_it_goes_on_as_its_last_line_says(trainer, standins, tmp_path):
    """The launcher lists no bad_sample, the line does. It ends as the run that skips from its start."""
    folder = tmp_path / "broken"
    shutil.copytree(standins["data_sdxl"], folder)
    images = open_for(standins["meta_sdxl"], folder)
    key = images[int(EpochOrder(images.bucket, 1, seed=24120801, epoch=0).batch(2)[0])].key
    (folder / f"{key}.npz").write_bytes(b"broken")
    args = f"--train_data_dir={shlex.quote(str(folder))} --skip_cache_check --states_every_n_steps=1"
    given = {"PROFILE": "tiny", "TINY_STEPS": 4, "TRAINER": trainer}
    stopped = launch("24120801", tmp_path / "stopped", ARGS=args, **given)
    assert stopped.code == 2 and "Traceback" not in stopped.said, stopped.said[-3000:]
    line = next(line for line in stopped.said.splitlines() if line.startswith("error: "))
    words = re.search(r'goes on exactly.* RESUME=auto ARGS="(.*?)"', line)[1]
    assert key in line and f"{key}.npz is corrupt" in line
    second = launch("24120801", tmp_path / "stopped", ARGS=f"{args} {words}", RESUME="auto", **given)
    whole = launch("24120801", tmp_path / "whole", ARGS=f"{args} {words}", **given)
    assert (second.code, whole.code) == (0, 0), second.said[-3000:]
    assert [line["optimizer_step"] for line in second.metrics] == [3, 4]
    assert f"bad_sample: skipped {key!r}" in second.said
    assert last(second) == last(whole)
    assert [line["loss"] for done in (stopped, second) for line in done.metrics] == [x["loss"] for x in whole.metrics]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    ("run", "args"),
    [
        pytest.param("25022601", "", id="DDP"),
        pytest.param("25022601", "--data_order=dealt", id="DDP, dealt"),
        pytest.param("25022301", "--dynamo_backend=eager", id="ZeRO-2"),
        pytest.param("24120801", "", id="GA 1"),
    ],
)
def test_two_processes(trainer, run, args, tmp_path):
    """With accumulation 4 an epoch of the 23 images has three optimizer steps: the resumed run ends in the second."""
    whole, _, second = trained(tmp_path, run, 2, steps=4, TRAINER=trainer, GPUS=2, ARGS=args)
    assert last(second) == last(whole)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(
    ("run", "args"),
    [
        pytest.param("24122001", "", id="SD2"),
        pytest.param("25031501", "", id="Lion"),
        pytest.param("25031503", "", id="AdaFactor"),
        pytest.param("25031504", "", id="Lion8bit"),
        pytest.param("25031501", "--optimizer_type=extensions.optimizers.CautiousLion", id="C-Lion"),
        pytest.param("25031501", "--optimizer_type=extensions.optimizers.AdamW4bit", id="AdamW4bit"),
        pytest.param(
            "25031501",
            "--optimizer_type=pytorch_optimizer.CAME --optimizer_args weight_decay=1e-2 'betas=(0.9, 0.999, 0.9999)'",
            id="CAME",
        ),
    ],
)
def test_other_optimizers_and_sd2(trainer, run, args, tmp_path):
    """Those of the logbook, with weight decay; CAME with its three betas."""
    whole, _, second = trained(tmp_path, run, 2, TRAINER=trainer, ARGS=args)
    assert last(second) == last(whole)


@pytest.mark.parametrize(("run", "processes"), [("24120801", 1), pytest.param("25022601", 2, marks=pytest.mark.slow)])
def test_a_signal_to_the_launcher_saves_and_ends_with_its_code(run, processes, tmp_path):
    process, metrics = under_way(run, processes, tmp_path)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=120)[0]
    assert process.returncode == 75, said[-3000:]
    state = states.newest_good(states.folder_of(tmp_path / f"model_out_{run}"))
    assert state.optimizer_steps == metrics.read_text().count("\n")  # every finished step is in the state
    assert said.count("stopped at optimizer step") == 1 and "RESUME=auto" in said and "Traceback" not in said


@pytest.mark.slow
def test_a_second_signal_ends_processes_that_wait_for_one_that_hangs(tmp_path):
    process, _ = under_way("25022601", 2, tmp_path)
    family = psutil.Process(process.pid).children(recursive=True)
    ranks = list(trainers(psutil.Process(process.pid)))
    assert len(ranks) == 2
    ranks[1].suspend()
    for seconds in (1, ONE_REQUEST + 0.5):
        time.sleep(seconds)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=20)[0]
    assert process.returncode == 128 + signal.SIGTERM, said[-3000:]
    assert not psutil.wait_procs(family, timeout=10)[1]


def under_way(run, processes, tmp_path):
    """(the launcher of a tiny run that has trained two optimizer steps and would go on, its metrics.jsonl)."""
    variables = os.environ | {"OUTPUT": str(tmp_path), "LOGS": str(tmp_path / "logs"), "PROFILE": "tiny"}
    variables |= {"TRAINER": "reference", "TINY_STEPS": "500", "GPUS": str(processes)}
    process = subprocess.Popen(
        [LAUNCHERS / f"{run}.sh"], env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    metrics = wait_for(lambda: next(tmp_path.glob("logs/*/*/metrics.jsonl"), None))
    wait_for(lambda: metrics.read_text().count("\n") >= 2)
    return process, metrics


def wait_for(condition, seconds=240):
    """The first value of `condition` that is true."""
    until = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < until, "it never came"
        time.sleep(0.1)
    return found
