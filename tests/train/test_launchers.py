"""Every launcher: its form, and what it says against what the logbook says of the run."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from extensions.base.paths import LAUNCHERS, ROOT
from extensions.logbook import registry
from tests.helpers.expected_runs import RUNS

SCRIPTS = sorted(LAUNCHERS.glob("[0-9]*.sh"))
SHARED = [LAUNCHERS / "lib" / "launch.sh", LAUNCHERS / "TEMPLATE.sh"]
BRANCHES = re.compile(r"^\s*(if|then|elif|else|fi|case|esac|for|while|until|do|done|function)\b|&&|\|\|", re.M)
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")

each = pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)


@pytest.fixture(scope="module")
def runs():
    return registry.read_all()


def code(script: Path) -> str:
    """The launcher without its comment lines."""
    return "\n".join(line for line in script.read_text().splitlines() if not line.lstrip().startswith("#"))


def flag_names(script: Path) -> list[str]:
    return re.findall(r"^  --(\w+)", code(script), re.M)


@each
def test_is_an_executable_page_that_sources_the_shared_shell(script):
    text = script.read_text()
    assert os.access(script, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert 'source "$(dirname "$0")/lib/launch.sh"' in text
    assert len(text.splitlines()) < 100


@each
def test_states_facts_without_branches(script):
    assert not BRANCHES.search(code(script))
    assert re.search(r'^launch (sdxl_train|fine_tune)\.py "\$\{flags\[@\]\}"$', code(script), re.M)


@each
def test_header_says_where_the_run_comes_from(script):
    header = script.read_text().split("source ")[0]
    assert re.search(rf"^# model_out_{script.stem}: \S", header, re.M)
    for line in ("Session [0-9a-z]+", "Hardware", "Steps", "Record"):
        assert len(re.findall(rf"^# {line}: \S", header, re.M)) == 1, line


@each
def test_flags_are_given_once_and_one_a_line(script):
    names = flag_names(script)
    assert names and len(names) == len(set(names))
    assert code(script).count(" --") == len(names)


@each
def test_run_number_comes_from_the_file_name(script):
    assert '--output_dir="$OUTPUT/model_out_$RUN"' in code(script)
    assert re.search(r'^  --seed=("\$RUN"|\d{8,9})$', code(script), re.M)
    # A recorded seed, of another run or with a digit too many, is the only number that may stand in full.
    assert script.stem not in code(script)


@each
def test_a_recorded_run_keeps_the_order_and_the_draws_of_before(script):
    assert "data_order" not in flag_names(script)
    # Flow has no draws of before: upstream has no flow. Its launchers take upstream's random stream.
    assert ("--timestep_draws=upstream" in code(script)) == ("timestep_draws" in flag_names(script))
    assert ("--objective=flow" in code(script)) == ("objective" in flag_names(script))


@each
def test_a_segment_names_its_parent(script):
    text, names = code(script), set(flag_names(script))
    assert ("initial_step" in names) == bool(re.search(r"^PARENT=\d{8}$", text, re.M)) == ("$PARENT/" in text)


@each
def test_every_run_can_be_stopped_and_goes_on(script):
    listed = re.search(r"--extensions=(\S+)", code(script))[1].split(",")
    assert {"resume_at_step", "save_states", "on_nan", "record_run"} <= set(listed)


@pytest.mark.parametrize(
    "flag", ["unet_percent", "dual_tag", "token_chunks", "bad_sample", "objective", "timestep_draws"]
)
@each
def test_a_plugin_is_listed_where_its_flag_is_given(script, flag):
    listed = re.search(r"--extensions=(\S+)", code(script))[1].split(",")
    assert (flag in listed) == (flag in flag_names(script))


@pytest.mark.parametrize("number", [number for number, want in RUNS.items() if want.data == "12.4M"])
def test_a_run_of_many_images_needs_one_flag_to_pass_over_a_corrupt_one(runs, number):
    assert runs[number].flags["bad_sample"] == "stop"


@pytest.mark.skipif(not SHELLCHECK, reason="shellcheck is not installed")
def test_shell_is_clean():
    command = [SHELLCHECK, "-x", "-S", "warning", *SCRIPTS, *SHARED]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_one_launcher_for_each_run_of_the_logbook():
    assert len(RUNS) == 59  # 39 up to 25040601, and 20 after it
    assert set(RUNS) <= {script.stem for script in SCRIPTS}


@pytest.mark.parametrize("number", RUNS)
def test_model_and_data_are_the_logbooks(runs, number):
    run, want = runs[number], RUNS[number]
    assert (run.session, run.words) == (want.session, want.words)
    assert (run.base, run.data) == (want.base, want.data)
    assert run.script == {"sdxl": "sdxl_train.py", "sd2": "fine_tune.py"}[want.family]
    assert ("v2" in run.flags) == (want.family == "sd2")
    assert run.flags["train_data_dir"] == run.flags["in_json"].replace("META", "DATA")


@pytest.mark.parametrize("number", RUNS)
def test_training_is_the_logbooks(runs, number):
    run, want = runs[number], RUNS[number]
    assert (run.gpus, run.ga, run.unet_percent) == (want.gpus, want.ga, want.unet)
    assert (run.tte, run.optimizer) == (want.tte, want.optimizer)
    assert (run.lr_unet, run.lr_te) == (want.lr_unet, want.lr_te)
    assert set(want.extra) <= set(run.flags)


@pytest.mark.parametrize("number", RUNS)
def test_text_encoder_rates_are_given_only_where_they_train(runs, number):
    run, want = runs[number], RUNS[number]
    names = {"sdxl": {"learning_rate_te1", "learning_rate_te2"}, "sd2": {"learning_rate_te"}}[want.family]
    given = {name: value for name, value in run.flags.items() if name.startswith("learning_rate_te")}
    assert set(given) == (set() if want.tte == "off" else names)
    assert all(float(value) == want.lr_te for value in given.values())


@pytest.mark.parametrize("number", [number for number, want in RUNS.items() if want.objective])
def test_objective_is_the_logbooks(runs, number):
    flags, want = runs[number].flags, RUNS[number]
    assert ("v_parameterization" in flags, "zero_terminal_snr" in flags) == (want.objective == "v",) * 2
    assert flags.get("min_snr_gamma") == want.min_snr
    law = {"objective": "flow", "timestep_law": "logit_normal", "timestep_shift": "3"}  # (0, 1) are the defaults
    named = {name: value for name, value in flags.items() if name.startswith(("objective", "timestep_", "flow_"))}
    assert named == (law | {"timestep_draws": "upstream"} if want.objective == "flow" else {})


# What a base predicts that was trained before: noise up to the 2EP, v where a run of the logbook trained it.
OF_NOISE = {"AK-NIL-1.2", "2EP", "blend(base, 25111701@11274, 0.75)", "blend(base, 25112201, 0.5)"}


@pytest.mark.parametrize("number", [number for number, want in RUNS.items() if want.objective])
def test_a_run_that_teaches_its_base_another_prediction_says_so(runs, number):
    want = RUNS[number]
    before = "epsilon" if want.base in OF_NOISE else "v"
    assert ("change_prediction" in runs[number].flags) == (before != want.objective)


@pytest.mark.parametrize("number", RUNS)
def test_tricks_and_hardware_are_the_logbooks(runs, number):
    run, want = runs[number], RUNS[number]
    assert run.flags["dual_tag"] == want.tag
    assert run.flags.get("token_chunks") == ("a1111" if want.chunks else None)
    assert (run.ramdisk, run.numa) == (want.ramdisk, want.numa)


@pytest.mark.parametrize("number", RUNS)
def test_segment_is_the_logbooks(runs, number):
    run, want = runs[number], RUNS[number]
    assert (run.start_step, run.stop_step, run.parent) == (want.start, want.stop, want.parent)
    if want.parent:
        checkpoint = f"$OUTPUT/model_out_{want.parent}/at-step{want.start:08d}.safetensors"
        assert run.flags["pretrained_model_name_or_path"] == checkpoint
        assert runs[want.parent].stop_step == want.start


@pytest.mark.parametrize("number", RUNS)
def test_steps_in_the_header_are_upstreams(runs, number):
    text = re.search(r"^# Steps: (.*)$", (LAUNCHERS / f"{number}.sh").read_text(), re.M)[1]
    formula = re.compile(r"([\d,x]+) images x (\d+) epochs? / \((\d+) GPUs? x 1 x (\d+)\) = (\d+) optimizer steps")
    images, *others = formula.match(text).groups()
    run = runs[number]
    assert [int(value) for value in others] == [run.epochs, run.gpus, run.ga, run.steps]
    assert images == {"20": "20", "6k": "6224", "6k_sd2": "6224", "12.4M": "12,446,6xx"}[run.data]
    assert ("this segment" in text) == bool(run.start_step or run.stop_step)
