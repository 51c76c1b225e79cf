"""What both trainers refuse before anything is read."""

import argparse
import sys

import pytest

from extensions.base.errors import UserError
from extensions.reference import __main__ as reference
from extensions.reference import flags
from extensions.trainer import checks as common_checks

WORDS = [
    "--pretrained_model_name_or_path=nowhere.safetensors", "--output_dir=out", "--v2",
    "--dataset_class=extensions.data.dataset.LatentsDataset",
]  # fmt: skip
INPUTS = ["--in_json=meta.json", "--train_data_dir=latents"]


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """sd-scripts' entry point sets sys.argv and sys.path."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.mark.parametrize("name", ["full_bf16", "full_fp16"])
@pytest.mark.parametrize("mixed", ["no", "fp16", "bf16"])
def test_full_precision_needs_its_mixed_precision(name, mixed):
    args = argparse.Namespace(**{"full_bf16": False, "full_fp16": False, name: True, "mixed_precision": mixed})
    if name.endswith(mixed):
        common_checks.precision(args)
    else:
        with pytest.raises(UserError, match=f"^--{name} needs --mixed_precision"):
            common_checks.precision(args)


@pytest.mark.parametrize("script", flags.SCRIPTS)
def test_the_reference_trainer_refuses(script):
    words = [word for word in WORDS if script == "fine_tune.py" or word != "--v2"]
    with pytest.raises(UserError, match="--full_bf16 needs --mixed_precision=bf16"):
        reference.main([script, *words, "--full_bf16"])


@pytest.mark.upstream
@pytest.mark.parametrize("script", flags.SCRIPTS)
def test_sd_scripts_refuses(script, patched):
    from extensions.upstream import __main__ as upstream

    with pytest.raises(UserError, match="--full_bf16 needs --mixed_precision=bf16"):
        upstream.main([str(patched), script, *WORDS, "--full_bf16", "--mixed_precision=fp16"])


@pytest.mark.upstream
def test_sd_scripts_refuses_what_stands_in_a_config_file(patched, tmp_path):
    from extensions.upstream import __main__ as upstream

    (tmp_path / "flags.toml").write_text("full_bf16 = true\n")
    with pytest.raises(UserError, match="--full_bf16 needs --mixed_precision=bf16"):
        upstream.main([str(patched), "fine_tune.py", *WORDS, f"--config_file={tmp_path / 'flags.toml'}"])


def test_zero_terminal_snr_without_v_is_said(capsys):
    words = [*WORDS, "--zero_terminal_snr"]
    flags.check(flags.parser("fine_tune.py").parse_args([*words, "--v_parameterization"]), "fine_tune.py")
    assert capsys.readouterr().err == ""
    flags.check(flags.parser("fine_tune.py").parse_args(words), "fine_tune.py")
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(("low", "high"), [(-1, 10), (10, 9), (0, 1001), (1000, 1000)])
def test_timesteps_that_the_schedule_does_not_have(low, high):
    args = flags.parser("fine_tune.py").parse_args([*WORDS, f"--min_timestep={low}", f"--max_timestep={high}"])
    with pytest.raises(UserError, match="timesteps count from 0"):
        common_checks.check(args, [])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--train_batch_size=0"], "--train_batch_size=0: give 1 or more"),
        (["--gradient_accumulation_steps=-1"], "--gradient_accumulation_steps=-1: give 1 or more"),
        (["--max_train_steps=0"], "--max_train_steps=0: give 1 or more"),
        (["--caption_dropout_rate=0.1", *INPUTS], "add dual_tag to --extensions"),
        ([], "--in_json is missing"),
        (INPUTS, None),
    ],
)
def test_values_and_the_data_set_s_flags(words, says):
    args = flags.parser("fine_tune.py").parse_args([*WORDS, *words])
    if says is None:
        return common_checks.check(args, [])
    with pytest.raises(UserError, match=says):
        common_checks.check(args, [])


def test_clip_skip_of_sdxl_is_said(capsys):
    words = [word for word in WORDS if word != "--v2"]
    flags.check(flags.parser("sdxl_train.py").parse_args([*words, "--clip_skip=2"]), "sdxl_train.py")
    assert "--clip_skip has no effect on SDXL" in capsys.readouterr().err
    flags.check(flags.parser("fine_tune.py").parse_args([*WORDS, "--clip_skip=2"]), "fine_tune.py")
    assert capsys.readouterr().err == ""
