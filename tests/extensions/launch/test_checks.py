"""Bad input at launch: one line, nothing written."""

import subprocess
import sys

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.launch import __main__ as launch
from extensions.launch import checks, command
from extensions.launch.stages import Asked
from tests.helpers import asking, checkpoint_files


@pytest.fixture
def files(tmp_path):
    """A base model's header, metadata and latents, as the checks see them."""
    (tmp_path / "latents").mkdir()
    (tmp_path / "meta.json").write_text("{}")
    for family in ("sdxl", "sd2"):
        files = checkpoint_files.small(family)
        checkpoint_files.write(tmp_path / f"{family}.safetensors", checkpoint_files.entries(files))
    return tmp_path


def asked(files, *more, base="sdxl.safetensors", facts=("GPUS=1",), **environment) -> Asked:
    inputs = [f"--in_json={files / 'meta.json'}", f"--train_data_dir={files / 'latents'}"]
    base = f"--pretrained_model_name_or_path={files / base}"
    return asking.asked(base, *inputs, f"--output_dir={files / 'out'}", *more, facts=facts, **environment)


def check(made: Asked) -> None:
    """One process is taken for one of a CPU; more are GPUs'."""
    checks.check_machines(made)
    checks.check(asking.resolved(made, cpu=made.cpu or made.gpus == 1))


def refused(made: Asked) -> str:
    with pytest.raises(UserError) as error:
        check(made)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_all_is_well(files):
    check(asked(files))
    assert (files / "out").is_dir() and not list((files / "out").iterdir())


def test_missing_base_names_variable_file_and_alternative(files, monkeypatch):
    monkeypatch.setenv("BASE_215C", str(files / "x215c.safetensors"))
    said = refused(asked(files, base="x215c.safetensors"))
    assert "BASE_215C" in said and "x215c.safetensors" in said and "PROFILE=tiny" in said
    assert not (files / "out").exists()


def test_missing_parent(files):
    said = refused(asked(files, base="at-step00010000.safetensors", facts=("GPUS=1", "PARENT=25030802")))
    assert "make train RUN=25030802" in said


def test_a_missing_checkpoint_of_another_run(files):
    said = refused(asked(files, base="model_out_26011101/epoch-000008.safetensors"))
    assert "run that one first (make train RUN=26011101)" in said


@pytest.mark.parametrize("gone", ["in_json", "train_data_dir"])
def test_missing_data(files, gone):
    assert "nowhere" in refused(asked(files, f"--{gone}={files / 'nowhere'}"))


def test_wrong_family(files):
    assert "is SD2, this run needs SDXL" in refused(asked(files, base="sd2.safetensors"))
    assert "is SDXL, this run needs SD2" in refused(asked(files, "--v2"))


def test_truncated_base(files):
    path = files / "sdxl.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert "truncated" in refused(asked(files))


def marked(files, metadata=None, **more):
    """The base with more tensors, or metadata."""
    shapes = checkpoint_files.small("sdxl") | dict.fromkeys(more, (0,))
    checkpoint_files.write(files / "sdxl.safetensors", checkpoint_files.entries(shapes), metadata)


def test_a_base_that_is_not_whole(files):
    shapes = checkpoint_files.small("sdxl")
    shapes.pop("model.diffusion_model.out.2.weight")
    checkpoint_files.write(files / "sdxl.safetensors", checkpoint_files.entries(shapes))
    assert "1 of 1,117 are missing (model.diffusion_model.out.2.weight)" in refused(asked(files))
    assert not (files / "out").exists()


def test_a_base_for_another_prediction(files):
    marked(files, v_pred=1)
    assert "predicts v (says its tensor v_pred), this run trains noise" in refused(asked(files))
    check(asked(files, "--v_parameterization"))
    check(asked(files, "--change_prediction"))
    marked(files, {"modelspec.prediction_type": "epsilon"})
    assert "take --v_parameterization out" in refused(asked(files, "--v_parameterization"))
    check(asked(files))


def test_what_else_a_base_holds_is_told(files):
    marked(files, **{"model_ema.decay": 1})
    (note,) = checks.check(asking.resolved(asked(files), cpu=True))
    assert note.endswith("also holds EMA copies (1 tensors), which no trainer reads")


def test_another_autoencoder_is_read_first(files):
    (files / "vae.ckpt").write_bytes(b"PK\x03\x04" + b"0" * 100)
    assert "--vae" in refused(asked(files, f"--vae={files / 'vae.ckpt'}"))


def test_more_gpus_than_present(files):
    assert "GPUS=64" in refused(asked(files, facts=("GPUS=64",)))


def test_output_that_cannot_be_written(files):
    (files / "file").write_text("")
    assert "cannot be written" in refused(asked(files, f"--output_dir={files / 'file' / 'out'}"))


def test_existing_models_are_kept_unless_forced(files):
    (files / "out").mkdir()
    (files / "out" / "last.safetensors").write_text("precious")
    assert "FORCE=1" in refused(asked(files))
    check(asked(files, FORCE="1"))
    assert (files / "out" / "last.safetensors").read_text() == "precious"


def test_a_node_that_cannot_be_bound_to_is_refused_before_anything_else(files, monkeypatch):
    monkeypatch.setattr(checks.numa, "missing", lambda node: "numactl is not installed")
    checks.check_machines(asked(files, facts=("GPUS=1", "NUMA=1"), PROFILE="tiny"))  # its profile drops the node
    refused(asked(files, facts=("GPUS=1", "NUMA=1"), PROFILE="tiny", NUMA="1"))
    said = refused(asked(files, base="nowhere.safetensors", facts=("GPUS=1", "NUMA=1")))
    assert said == "NUMA=1: numactl is not installed; mend that, or give NUMA=none to run unbound"
    assert not (files / "out").exists()


def test_machines_that_cannot_meet_are_refused_before_anything_else(files):
    two = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "no.such.host.invalid"}
    assert "no.such.host.invalid cannot be resolved" in refused(asked(files, base="nowhere.safetensors", **two))


def test_a_model_that_machine_0_has_written_does_not_stop_the_others(files):
    (files / "out").mkdir()
    (files / "out" / "last.safetensors").write_text("precious")
    two = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(command.free_port())}
    assert "FORCE=1" in refused(asked(files, NODE_RANK="0", **two))
    check(asked(files, NODE_RANK="1", **two))


def test_numactl_stands_before_the_launcher(files):
    words = command.build(asked(files, facts=("GPUS=4", "NUMA=1")), files)
    assert words[:3] == ["numactl", "--cpunodebind=1", "--membind=1"] and "accelerate.commands.launch" in words
    assert command.build(asked(files, facts=("GPUS=4", "NUMA=none")), files)[0] != "numactl"


@pytest.mark.parametrize(
    ("facts", "words", "wanted"),
    [(("GPUS=4",), [], "60"), (("GPUS=1",), [], None), (("GPUS=4",), ["--ddp_timeout=10"], "10")],
)
def test_several_processes_wait_long_for_one_that_writes(files, facts, words, wanted):
    complete = launch.complete(asked(files, *words, facts=facts), files, None)
    given = [word for word in complete if word.startswith("--ddp_timeout")]
    assert given == ([f"--ddp_timeout={wanted}"] if wanted else [])


def test_dry_run_prints_one_complete_command_and_runs_nothing(files, monkeypatch, capsys):
    monkeypatch.setenv("DRY_RUN", "1")
    monkeypatch.setenv("TRAINER", "reference")  # sd-scripts may be out of reach
    words = ["25022601", "GPUS=4", "sdxl_train.py", "--extensions=record_run", "--output_dir=a b/ü", "--seed=1"]
    assert launch.main(words) == 0
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert "--num_processes=4" in said and "'--output_dir=a b/ü'" in said and "--run_folder=" in said


@pytest.mark.parametrize("kind", ["a file", "a full disk", "below a file"])
def test_logs_that_cannot_be_written(files, tmp_path, monkeypatch, kind, request):
    logs = tmp_path / "logs"
    if kind == "a full disk":
        logs = request.getfixturevalue("small_disk")
        (logs / "fill").write_bytes(b"x" * 60_000)
    else:
        logs.write_text("a file")
    monkeypatch.setattr(checks, "LOGS", logs / "train" if kind == "below a file" else logs)
    said = refused(asked(files))
    assert said.startswith("no run folder can be made in ") and "let LOGS= name another" in said
    assert not (files / "out").exists()


def test_the_launcher_itself_has_no_torch():
    """It waits as long as the run takes, and torch is half a gigabyte and seconds of every start."""
    asks = "import sys, extensions.launch.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asks], cwd=ROOT, check=False).returncode == 0
