"""Pairs of flags that exclude each other: one line each, before anything is built or loaded."""

import argparse

import pytest

from extensions.errors import UserError
from extensions.launch import __main__ as launch
from extensions.launch import contradictions
from extensions.launch.flags import Flags
from extensions.logbook import registry
from extensions.reporting import exit_code_of

PAIRS = {
    "--mem_eff_attn --sdpa": "--mem_eff_attn and --sdpa",
    "--xformers --sdpa": "--xformers and --sdpa",
    "--deepspeed --zero_stage=3": "zero_stage=3",
    "--deepspeed --optimizer_type=AdaFactor": "rows and columns",
    "--deepspeed --optimizer_type=pytorch_optimizer.CAME": "rows and columns",
    "--deepspeed --optimizer_type=torchao.optim.AdamW4bit": "shape of each weight",
    "--deepspeed --optimizer_type=pytorch_optimizer.Lion --optimizer_args cautious=True": "its own mask",
    "--deepspeed --optimizer_type=Lion --optimizer_args cautious_factor=0.0 weight_decay=1e-2": "its own mask",
    "--deepspeed --optimizer_type=extensions.cautious_lion.CautiousLion": "its own mask",
    "--deepspeed --optimizer_type=transformers.optimization.Adafactor": "rows and columns",
    "--deepspeed --optimizer_type=Lion --optimizer_args cautious=perhaps": "'cautious=perhaps' is not key=value",
    "--deepspeed --optimizer_type=AdaFactor --fused_backward_pass": "rows and columns",
    "--deepspeed --fused_optimizer_groups=4": "fused_optimizer_groups",
    "--deepspeed --extensions=bf16_updates --bf16_updates=stochastic": "bf16_updates=stochastic with --deepspeed",
    "--deepspeed --extensions=bf16_updates --bf16_updates kahan": "bf16_updates=kahan with --deepspeed",
    "--torch_compile --extensions=dual_tag": "plugin dynamo",
    "--zero_stage=2": "--zero_stage without --deepspeed .* add --deepspeed, or take --zero_stage out",
    "--offload_optimizer_device=cpu": "--offload_optimizer_device without --deepspeed",
    "--dynamo_backend=inductor --extensions=dual_tag": "--torch_compile has no .* add --torch_compile, or take",
    "--torch_compile --extensions=dynamo --dynamo_backend=eager --zero_stage=2": "without --deepspeed",
}


@pytest.mark.parametrize("words", PAIRS)
def test_one_line(words):
    with pytest.raises(UserError, match=PAIRS[words]) as caught:
        contradictions.check(Flags.of_text(words))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        "--mem_eff_attn --deepspeed --zero_stage=2 --torch_compile --extensions=dynamo --optimizer_type=AdamW8bit",
        "--optimizer_type=AdaFactor --fused_backward_pass --sdpa",
        "--deepspeed --optimizer_type=Lion8bit",
        "--deepspeed --optimizer_type=pytorch_optimizer.Lion --optimizer_args cautious=False weight_decay=1e-2",
        "--deepspeed --optimizer_type=extensions.cautious_lion.CautiousLion --optimizer_args cautious=False",
        "--deepspeed --optimizer_type=Lion --optimizer_args cautious_factor=1.0",
        "--deepspeed --optimizer_type=mine.Cameleon --optimizer_args note=\"'no adafactor'\"",
        "--deepspeed --extensions=bf16_updates --bf16_updates=nearest",
        "--extensions=bf16_updates --bf16_updates=kahan",
        "",
    ],
)
def test_what_works_together(words):
    contradictions.check(Flags.of_text(words))


@pytest.mark.parametrize("words", ["--optimizer_type=AdaFactor", "--bf16_updates=stochastic"])
def test_a_launch_refuses_before_it_looks_for_files(words, monkeypatch, capsys):
    monkeypatch.setenv("ARGS", words)
    flags = ["--pretrained_model_name_or_path=/no/such", "--deepspeed"]
    assert exit_code_of(launch.main, ["25022601", "GPUS=2", "sdxl_train.py", *flags]) == UserError.code
    said = capsys.readouterr().err
    assert said.startswith(f"error: {words}") and said.count("\n") == 1


@pytest.mark.parametrize("words", ["--zero_stage=2", "--dynamo_backend=inductor"])
def test_a_tiny_launch_refuses_what_has_no_effect_too(words, monkeypatch, capsys, standins):
    """The profile writes another backend over inductor, and must not be what hides or makes the fault."""
    monkeypatch.setenv("PROFILE", "tiny")
    monkeypatch.setenv("ARGS", words)
    flags = ["--pretrained_model_name_or_path=base.safetensors", "--output_dir=out"]
    assert exit_code_of(launch.main, ["25022601", "GPUS=1", "sdxl_train.py", *flags]) == UserError.code
    assert f"{words.partition('=')[0]} without --" in capsys.readouterr().err


def test_no_launcher_has_a_contradiction():
    for number, run in registry.read_all().items():
        flags = Flags()
        flags.values = {name: [] if value is True else [value] if isinstance(value, str) else value
                        for name, value in run.flags.items()}  # fmt: skip
        try:
            contradictions.check(flags)
        except UserError as error:
            pytest.fail(f"train/{number}.sh: {error}")


@pytest.mark.upstream
def test_every_flag_of_upstreams_deepspeed_needs_its_switch(patched):
    """Upstream's own parser says which flags those are."""
    from library import deepspeed_utils

    parser = argparse.ArgumentParser(add_help=False)
    deepspeed_utils.add_deepspeed_arguments(parser)
    names = {action.dest for action in parser._actions}
    assert names == {"deepspeed", *contradictions.NEED_A_SWITCH["deepspeed"][0]}
