"""What is frozen by regexes and by a percentage, and that the rest gets its gradients."""

import re

import pytest
import torch

from extensions.base.errors import UserError
from extensions.flags import contradictions
from extensions.flags.words import Flags
from extensions.model.models import Models
from extensions.plugins import unet_percent
from tests.helpers.plugin_flags import parsed


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.time_embed = torch.nn.Linear(2, 2)
        self.input_blocks = torch.nn.ModuleList(
            [torch.nn.ModuleList([torch.nn.Linear(2, 2)]), torch.nn.ModuleList([torch.nn.Linear(2, 2)])]
        )


def plugin(*words: str, **trainers) -> unet_percent.Plugin:
    """The plugin, from its flags and the trainer's. UserError for those that it refuses."""
    made = unet_percent.Plugin()
    made.check_arguments(args=parsed("unet_percent", *words, **{"learning_rate": 1.0} | trainers))
    return made


def freeze(*words: str, **trainers) -> set[str]:
    net = Net()
    plugin(*words, **trainers).select_parameters(models=Models("sdxl", net), groups=[])
    return {name for name, p in net.named_parameters() if not p.requires_grad}


def test_regexes():
    assert freeze(r"--unet_freeze=\.bias$") == {"time_embed.bias", "input_blocks.0.0.bias", "input_blocks.1.0.bias"}
    kept = {"input_blocks.1.0.weight", "input_blocks.1.0.bias"}
    assert freeze("--unet_train=^input_blocks.1") == {name for name, _ in Net().named_parameters()} - kept
    both = freeze("--unet_train=^input_blocks", r"--unet_freeze=\.0\.bias$")
    assert both == {"time_embed.weight", "time_embed.bias", "input_blocks.0.0.bias", "input_blocks.1.0.bias"}


def test_a_percentage_freezes_whole_blocks_and_says_which(capsys):
    """Of 18 numbers the one candidate has 6; the embedding and the first block are none."""
    assert freeze("--unet_percent=66.6") == {"input_blocks.1.0.weight", "input_blocks.1.0.bias"}
    said = capsys.readouterr().out.splitlines()
    assert said == [
        "unet_percent: training 12 of 18 U-Net parameters (66.67 %)",
        "unet_percent: frozen: input_blocks.1.0",
    ]
    assert freeze("--unet_percent=100") == set()


@pytest.mark.upstream
def test_checkpointed_blocks_before_the_first_trained_one_get_gradients(patched, standins):
    """Only the cross-attention trains, text encoders do not: the case that reentrant checkpointing drops."""
    from library import sdxl_original_unet

    from extensions.model.checkpoint import read_header
    from extensions.upstream import shapes

    with shapes.sized_for_sdxl(read_header(standins["sdxl"])):
        unet = sdxl_original_unet.SdxlUNet2DConditionModel()
    unet.enable_gradient_checkpointing()
    unet.train()
    made = plugin("--unet_train=attn2", gradient_checkpointing=True)
    made.select_parameters(models=Models("sdxl", unet), groups=[])
    out = unet(torch.randn(1, 4, 8, 8), torch.tensor([5]), torch.randn(1, 77, 128), torch.randn(1, 1600))
    out.square().mean().backward()
    trained = {name: p for name, p in unet.named_parameters() if p.requires_grad}
    assert trained and all("attn2" in name for name in trained)
    assert [name for name, p in trained.items() if p.grad is None] == []


@pytest.mark.parametrize(
    ("words", "trainers", "says"),
    [
        ([], {}, "listed without --unet_percent, --unet_train or --unet_freeze"),
        (["--unet_percent=71", "--unet_train=x"], {}, "both choose what trains"),
        (["--unet_percent=71"], {"learning_rate": 0}, "the U-Net does not train at all"),
        (["--unet_train=no such"], {}, "--unet_train=no such matches no U-Net parameter"),
        (["--unet_freeze=."], {}, "leave no U-Net parameter to train"),
        (["--unet_percent=71"], {}, "has no block input_blocks.2.0; is the checkpoint SDXL"),
    ],
)
def test_bad_choices_are_one_line(words, trainers, says):
    with pytest.raises(UserError, match=re.escape(says)) as error:
        freeze(*words, **trainers)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["0", "101", "abc", "-3", "nan"])
def test_percent_is_a_percentage(text):
    with pytest.raises(UserError, match=f"--unet_percent: '{text}' is not a (percentage above 0|number)"):
        parsed("unet_percent", f"--unet_percent={text}")


@pytest.mark.parametrize("flag", ["unet_train", "unet_freeze"])
def test_a_regex_is_a_regular_expression(flag):
    with pytest.raises(UserError, match=rf"--{flag}: '\(' is not a regular expression: "):
        parsed("unet_percent", f"--{flag}=(")


@pytest.mark.parametrize(("flag", "why"), [("block_lr=1", "into groups"), ("fused_optimizer_groups=4", "several")])
def test_other_ways_to_divide_the_u_net_are_refused(flag, why):
    words = f"--extensions=unet_percent --unet_percent=71 --optimizer_type=AdaFactor --{flag}"
    with pytest.raises(UserError, match=f"--{flag[:-2]} and the plugin unet_percent exclude each other: .*{why}"):
        contradictions.check(Flags.of_text(words), 1)
