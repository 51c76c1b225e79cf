"""Pairs of flags that exclude each other: one line each, before anything is built or loaded."""

import argparse

import pytest

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.flags import contradictions, pairs
from extensions.flags.words import Flags
from extensions.launch import __main__ as launch
from extensions.logbook import registry
from tests.helpers import asking

ZERO = "--deepspeed and the plugin bf16_updates exclude each other: ZeRO keeps fp32 master weights"
PAIRS = {
    "--mem_eff_attn --sdpa": "--mem_eff_attn and --sdpa",
    "--xformers --sdpa": "--xformers and --sdpa",
    "--deepspeed --zero_stage=3": "zero_stage=3",
    "--deepspeed --optimizer_type=AdaFactor": "rows and columns",
    "--deepspeed --optimizer_type=pytorch_optimizer.CAME": "rows and columns",
    "--deepspeed --optimizer_type=torchao.optim.AdamW4bit": "shape of each weight",
    "--deepspeed --optimizer_type=pytorch_optimizer.Lion --optimizer_args cautious=True": "its own mask",
    "--deepspeed --optimizer_type=Lion --optimizer_args cautious_factor=0.0 weight_decay=1e-2": "its own mask",
    "--deepspeed --optimizer_type=extensions.optimizers.CautiousLion": "its own mask",
    "--deepspeed --optimizer_type=transformers.optimization.Adafactor": "rows and columns",
    "--deepspeed --optimizer_type=Lion --optimizer_args cautious=perhaps": "'cautious=perhaps' is not key=value",
    "--deepspeed --optimizer_type=AdaFactor --fused_backward_pass": "rows and columns",
    "--deepspeed --fused_optimizer_groups=4": "fused_optimizer_groups",
    "--deepspeed --extensions=bf16_updates --bf16_updates=stochastic": ZERO,
    "--deepspeed --extensions=bf16_updates --bf16_updates kahan": ZERO,
    "--deepspeed --extensions=bf16_updates --bf16_updates=nearest": ZERO,
    "--deepspeed --optimizer_type=pytorch_optimizer.SOAP": "SOAP is not known to work with --deepspeed",
    "--deepspeed --optimizer_type=Prodigy": "Prodigy is not known to work",
    "--deepspeed --optimizer_type=torchao.optim.AdamW8bit": "torchao.optim.AdamW8bit is not known to work",
    "--deepspeed --optimizer_type=pytorch_optimizer.Lion --optimizer_args use_gc=True": "takes the mean off each",
    "--deepspeed --offload_param_device=cpu": "--offload_param_device belongs to --zero_stage=3",
    "--deepspeed --zero3_init_flag": "--zero3_init_flag belongs to --zero_stage=3",
    "--deepspeed --offload_optimizer_device=nvme": "offload_optimizer_device=nvme belongs to --zero_stage=3",
    "--deepspeed --offload_optimizer_device=cpu --optimizer_type=AdamW8bit": "give --optimizer_type=AdamW",
    "--deepspeed --offload_optimizer_device=cpu --use_8bit_adam": "give --optimizer_type=AdamW",
    "--deepspeed --offload_optimizer_device=cpu --optimizer_args betas=.9,.99": "no other --optimizer_args",
    "--torch_compile --extensions=dual_tag": "plugin dynamo",
    "--torch_compile --extensions=dynamo --optimizer_type=torchao.optim.AdamW4bit": "extensions.optimizers.AdamW4bit",
    "--xformers --diffusers_xformers": "--diffusers_xformers leaves the U-Net without xformers",
    "--save_model_as=diffusers": "--save_model_as=diffusers needs files from a hub",
    "--save_model_as=diffusers_safetensors": "give safetensors, and convert it",
    "--use_8bit_adam --optimizer_type=Lion": "both name the optimizer",
    "--use_lion_optimizer --optimizer_type=Lion": "both name the optimizer",
    "--use_8bit_adam --use_lion_optimizer": "both name the optimizer",
    "--train_text_encoder --cache_text_encoder_outputs": "text encoders that train give other states",
    "--weighted_captions --cache_text_encoder_outputs": "--weighted_captions and --cache_text_encoder_outputs",
    "--v_parameterization --v_pred_like_loss=0.1": "--v_parameterization and --v_pred_like_loss",
    "--scale_v_pred_loss_like_noise_pred": "--scale_v_pred_loss_like_noise_pred without --v_parameterization",
    "--adaptive_noise_scale=0.1": "--adaptive_noise_scale without --noise_offset",
    "--sample_every_n_steps=100": "--sample_every_n_steps without --sample_prompts has no effect: there is nothing",
    "--learning_rate_te1=1e-6": "--learning_rate_te1 without --train_text_encoder",
    "--resume=old --resume_from=state": "both restore a state",
    "--optimizer_type=AdaFactor --fused_backward_pass --fused_optimizer_groups=2": "both step in the backward pass",
    "--optimizer_type=AdaFactor --fused_backward_pass --gradient_accumulation_steps=4": "=4 sums several",
    "--fused_optimizer_groups=4 --gradient_accumulation_steps=4": "--fused_optimizer_groups steps in every backward",
    "--optimizer_type=AdamW8bit --fused_backward_pass": "AdaFactor alone",
    "--fused_optimizer_groups=4 --extensions=save_states": "the plugin save_states .* the state of one is kept",
    "--fused_optimizer_groups=4 --extensions=unet_percent": "the plugin unet_percent .* the parameters of one",
    "--zero_stage=2": "--zero_stage without --deepspeed .* add --deepspeed, or take --zero_stage out",
    "--offload_optimizer_device=cpu": "--offload_optimizer_device without --deepspeed",
    "--dynamo_backend=inductor --extensions=dual_tag": "--torch_compile has no .* add --torch_compile, or take",
    "--torch_compile --extensions=dynamo --dynamo_backend=eager --zero_stage=2": "without --deepspeed",
}


@pytest.mark.parametrize("words", PAIRS)
def test_one_line(words):
    with pytest.raises(UserError, match=PAIRS[words]) as caught:
        contradictions.check(Flags.of_text(words), 1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "--mem_eff_attn --deepspeed --zero_stage=2 --torch_compile --extensions=dynamo --optimizer_type=AdamW8bit",
        "--optimizer_type=AdaFactor --fused_backward_pass --sdpa",
        "--deepspeed --optimizer_type=Lion8bit",
        "--deepspeed --optimizer_type=pytorch_optimizer.Lion --optimizer_args cautious=False weight_decay=1e-2",
        "--deepspeed --optimizer_type=extensions.optimizers.CautiousLion --optimizer_args cautious=False",
        "--deepspeed --optimizer_type=Lion --optimizer_args cautious_factor=1.0",
        "--deepspeed --optimizer_type=AdamW --offload_optimizer_device=cpu --optimizer_args weight_decay=1e-2",
        "--extensions=bf16_updates --bf16_updates=kahan",
        "",
    ],
)
def test_what_works_together(words):
    contradictions.check(Flags.of_text(words), 1)


@pytest.mark.parametrize(
    ("words", "start"),
    [
        ("--optimizer_type=AdaFactor", "error: --optimizer_type=AdaFactor"),
        ("--extensions=bf16_updates --bf16_updates=stochastic", f"error: {ZERO}"),
    ],
)
def test_a_launch_refuses_before_it_looks_for_files(words, start, monkeypatch, capsys):
    monkeypatch.setenv("ARGS", words)
    flags = ["--pretrained_model_name_or_path=/no/such", "--deepspeed"]
    assert exit_code_of(launch.main, ["25022601", "GPUS=2", "sdxl_train.py", *flags]) == UserError.code
    said = capsys.readouterr().err
    assert said.startswith(start) and said.count("\n") == 1


def test_a_tiny_launch_hides_no_attention_that_a_real_one_refuses(monkeypatch, capsys, standins):
    monkeypatch.setenv("PROFILE", "tiny")
    flags = ["--pretrained_model_name_or_path=base.safetensors", "--output_dir=out", "--diffusers_xformers"]
    assert exit_code_of(launch.main, ["25022601", "GPUS=1", "sdxl_train.py", *flags]) == UserError.code
    assert "--diffusers_xformers leaves the U-Net without xformers" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--zero_stage=2", "--dynamo_backend=inductor"])
def test_a_tiny_launch_refuses_what_has_no_effect_too(words, monkeypatch, capsys, standins):
    """The profile writes another backend over inductor, and must not be what hides or makes the fault."""
    monkeypatch.setenv("PROFILE", "tiny")
    monkeypatch.setenv("ARGS", words)
    flags = ["--pretrained_model_name_or_path=base.safetensors", "--output_dir=out"]
    assert exit_code_of(launch.main, ["25022601", "GPUS=1", "sdxl_train.py", *flags]) == UserError.code
    assert f"{words.partition('=')[0]} without --" in capsys.readouterr().err


@pytest.mark.parametrize("words", ["--optimizer_type=AdaFactor --fused_backward_pass", "--fused_optimizer_groups=4"])
def test_weights_that_step_in_the_backward_pass_are_one_process_s(words):
    contradictions.check(Flags.of_text(words), 1)
    with pytest.raises(UserError, match="before the gradients of 4 processes are averaged"):
        contradictions.check(Flags.of_text(words), 4)


def test_no_workers_are_not_to_be_kept():
    """ARGS can ask for no workers, but cannot take the launcher's flag out."""
    words = ["--persistent_data_loader_workers", "--max_data_loader_n_workers=2"]
    made = asking.asked(*words, ARGS="--max_data_loader_n_workers=0")
    assert "persistent_data_loader_workers" not in made.flags and "leaves none to keep" in made.notes[0]
    made = asking.asked(*words)
    assert "persistent_data_loader_workers" in made.flags and not made.notes


def test_no_launcher_has_a_contradiction():
    for number, run in registry.read_all().items():
        words = {
            name: [] if value is True else [value] if isinstance(value, str) else value
            for name, value in run.flags.items()
        }
        try:
            contradictions.check(Flags.of(words), run.gpus)
        except UserError as error:
            pytest.fail(f"train/{number}.sh: {error}")


@pytest.mark.upstream
def test_every_flag_of_upstreams_deepspeed_needs_its_switch(patched):
    """Upstream's own parser says which flags those are."""
    from library import deepspeed_utils

    parser = argparse.ArgumentParser(add_help=False)
    deepspeed_utils.add_deepspeed_arguments(parser)
    names = {action.dest for action in parser._actions}
    assert names == {"deepspeed", *pairs.NEED_A_SWITCH["deepspeed"][0]}
