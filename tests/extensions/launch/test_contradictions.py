"""Pairs of flags that exclude each other: one line each, before anything is built or loaded."""

import pytest

from extensions.errors import UserError
from extensions.launch import __main__ as launch
from extensions.launch import contradictions
from extensions.launch.flags import Flags

PAIRS = {
    "--mem_eff_attn --sdpa": "--mem_eff_attn and --sdpa",
    "--xformers --sdpa": "--xformers and --sdpa",
    "--deepspeed --zero_stage=3": "zero_stage=3",
    "--deepspeed --optimizer_type=AdaFactor": "rows and columns",
    "--deepspeed --optimizer_type=pytorch_optimizer.CAME": "rows and columns",
    "--deepspeed --optimizer_type=torchao.optim.AdamW4bit": "shape of each weight",
    "--deepspeed --optimizer_type=pytorch_optimizer.Lion --optimizer_args cautious=True": "its own mask",
    "--deepspeed --optimizer_type=Lion --optimizer_args cautious_factor=0.0 weight_decay=1e-2": "its own mask",
    "--deepspeed --optimizer_type=AdaFactor --fused_backward_pass": "rows and columns",
    "--deepspeed --fused_optimizer_groups=4": "fused_optimizer_groups",
    "--torch_compile --extensions=dual_tag": "plugin dynamo",
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
        "",
    ],
)
def test_what_works_together(words):
    contradictions.check(Flags.of_text(words))


def test_a_launch_refuses_before_it_looks_for_files(monkeypatch):
    monkeypatch.setenv("ARGS", "")
    words = ["25022601", "GPUS=1", "sdxl_train.py", "--pretrained_model_name_or_path=/no/such", "--deepspeed",
             "--optimizer_type=AdaFactor"]  # fmt: skip
    with pytest.raises(UserError, match="rows and columns"):
        launch.main(words)
