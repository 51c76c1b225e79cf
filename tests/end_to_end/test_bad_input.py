"""Bad input that only the trainer can see: one line, exit code 2, and nothing written over."""

import shutil

import pytest

from extensions.data.index import open_for
from extensions.data.order import EpochOrder
from extensions.launch import processor
from tests.helpers.launching import launch


@pytest.fixture(params=[pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"])
def trainer(request):
    return request.param


def refused(tmp_path, run="25022601", **environment):
    """A tiny run that must not train: what it said before the log's path."""
    run = launch(run, tmp_path / "output", PROFILE="tiny", **environment)
    said = [line for line in run.said.splitlines() if line.startswith("error: ")]
    assert run.code == 2, run.said[-2000:]
    assert len(said) == 1 and "Traceback" not in run.said
    assert not list(run.output.glob("*.safetensors"))
    assert run.manifest["exit_code"] == 2
    assert (run.folder / "train.log").read_text().splitlines().count(said[0]) == 1 and "SIGTERM" not in run.said
    assert f"log: {run.folder / 'train.log'}" in run.said and "to go on: make train" in run.said
    return said[0]


def test_a_corrupt_npz(standins, tmp_path, trainer):
    folder = tmp_path / "latents"
    shutil.copytree(standins["data_sdxl"], folder)
    victim = sorted(folder.glob("*.npz"))[3]
    victim.write_bytes(victim.read_bytes()[:-200])
    assert victim.name in refused(tmp_path, ARGS=f"--train_data_dir='{folder}'", TRAINER=trainer)


@pytest.mark.parametrize(
    "trainer", [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"]
)
def test_one_of_two_processes_reads_a_corrupt_npz(standins, tmp_path, trainer):
    """The other waits for it in a reduction, or finds it broken off."""
    folder = tmp_path / "latents"
    shutil.copytree(standins["data_sdxl"], folder)
    victim = sorted(folder.glob("*.npz"))[3]
    bytes_of = bytearray(victim.read_bytes())
    bytes_of[2000] ^= 0xFF  # among the latents: the sum that the archive keeps does not fit any more
    victim.write_bytes(bytes_of)
    words = f"--train_data_dir='{folder}' --gradient_accumulation_steps=1"
    assert victim.name in refused(tmp_path, ARGS=words, TRAINER=trainer, GPUS=2)


def test_corrupt_samples_of_two_processes_count_together(standins, tmp_path):
    """Each process meets one in the first optimizer step; more than one ends both."""
    folder = tmp_path / "latents"
    shutil.copytree(standins["data_sdxl"], folder)
    images = open_for(standins["meta_sdxl"], folder)
    order = EpochOrder(images.bucket, 1, seed=24120801, epoch=0)
    for place in range(2):
        (folder / f"{images[int(order.batch(place)[0])].key}.npz").write_bytes(b"broken")
    plugins = "dual_tag,resume_at_step,save_states,record_run,bad_sample" + (
        "" if processor.has_bf16() else ",cpu_bf16"
    )
    words = f"--train_data_dir='{folder}' --extensions={plugins} --bad_sample=skip --bad_sample_limit=1"
    said = refused(tmp_path, "24120801", ARGS=words, TRAINER="reference", GPUS=2)
    assert "2 corrupt samples, more than --bad_sample_limit=1" in said


def test_a_flag_that_both_of_two_processes_refuse(tmp_path):
    said = refused(tmp_path, ARGS="--learning_rat=1e-6", TRAINER="reference", GPUS=2)
    assert "--learning_rat" in said


def test_metadata_that_are_not_json(tmp_path, trainer):
    """RAMDISK=1 would refuse them before the trainer starts: it stages their index."""
    (tmp_path / "meta.json").write_text("[1, 2")
    flag = f"--in_json='{tmp_path / 'meta.json'}'"
    assert "meta.json is not a JSON object" in refused(tmp_path, ARGS=flag, TRAINER=trainer, RAMDISK=0)


@pytest.mark.parametrize("flag", ["--dual_tag_drop_each_tag=2", "--unet_percent=101"])
def test_a_value_that_is_none_ends_in_the_launcher(tmp_path, trainer, flag):
    """What a flag's declaration tells is refused before there is a run folder."""
    run = launch("25022601", tmp_path / "output", PROFILE="tiny", ARGS=flag, TRAINER=trainer)
    said = [line for line in run.said.splitlines() if line.startswith("error: ")]
    assert run.code == 2 and len(said) == 1 and flag in said[0] and "Traceback" not in run.said
    assert run.folder is None and not (tmp_path / "output").exists()


def test_drops_that_would_leave_no_text(tmp_path):
    said = refused(tmp_path, ARGS="--dual_tag_drop_caption=0.7 --dual_tag_drop_tags=0.7", TRAINER="reference")
    assert "--dual_tag_drop_caption and --dual_tag_drop_tags are more than 1 together" in said


@pytest.mark.upstream
def test_chunks_with_cached_text_encoder_outputs(tmp_path):
    said = refused(tmp_path, ARGS="--cache_text_encoder_outputs_to_disk")
    assert "--cache_text_encoder_outputs_to_disk and --token_chunks=a1111 exclude each other" in said


@pytest.mark.upstream
def test_what_sd_scripts_refuses_by_an_assertion(tmp_path):
    """In its first lines, before it loads."""
    said = refused(tmp_path, "24120801", ARGS="--block_lr=1e-6")
    assert "block_lr must have 23 values (sd-scripts, sdxl_train.py line " in said


def test_a_schedule_that_takes_no_warm_up(tmp_path, trainer):
    said = refused(tmp_path, ARGS="--lr_warmup_steps=100", TRAINER=trainer)
    assert "--lr_scheduler=constant" in said or "--lr_warmup_steps=100 has no effect" in said


def test_a_flag_that_the_reference_trainer_does_not_have(tmp_path):
    said = refused(tmp_path, ARGS="--noise_offset=0.1", TRAINER="reference")
    assert "--noise_offset" in said and "TRAINER=sd-scripts" in said and "--min_snr_gamma" in said


@pytest.mark.upstream
def test_an_upstream_commit_where_the_series_does_not_apply(tmp_path):
    run = launch("25022601", tmp_path / "output", PROFILE="tiny", SD_SCRIPTS_REF="v0.7.0")
    assert run.code == 2 and run.folder is None
    assert [line for line in run.said.splitlines() if "does not apply to sd-scripts" in line]
