"""What each line of the plan's advice says that it costs is measured: here, or by the test that is named here."""

import ast
import re

import pytest
import torch
from torch.nn import functional

from extensions.base.paths import ROOT
from extensions.flags.words import Flags
from extensions.logbook import steps
from extensions.plan import advice, levers, recorded, vram
from tests.helpers.optimizer_cases import Small
from tests.helpers.saved_bytes import saved_bytes

HERE = "tests/extensions/plan/test_advice_claims.py"
MODEL = "tests/extensions/optimizers/test_updates_model.py::test_a_u_net_moves_along_fp32s_update"
QUADRATIC = (
    "tests/extensions/optimizers/test_updates_quadratic.py::test_on_a_quadratic_every_optimizer_moves_as_in_fp32"
)
GRADIENTS = "tests/extensions/optimizers/test_gradients.py::test_two_processes_train_the_same_bits"
UNTRAINED = "tests/extensions/model/test_untrained.py::test_everything_that_is_frozen_and_the_autoencoder"
SHARES = "tests/extensions/model/test_unet_blocks.py::test_variants_are_the_recorded_ones"
# {how the cost begins: where it is measured}.
MEASURED = {
    "none: the same attention": f"{HERE}::test_sdpa_is_the_same_attention_and_keeps_less",
    "none: the same gradients": GRADIENTS,
    "the weights travel once more": f"{HERE}::test_dividing_the_optimizer_sends_each_weight_once_more",
    "a quarter of the speed": f"{HERE}::test_computing_again_is_a_quarter_of_the_work",
    "up to a quarter of the speed": "tests/extensions/model/test_checkpointed.py"
    "::test_no_bit_of_weights_and_gradients_depends_on_the_choice",
    "some speed, same images": f"{HERE}::test_smaller_batches_have_the_same_gradient_and_keep_less",
    "noise of rounding": QUADRATIC,
    "slower (1.231": f"{HERE}::test_the_speeds_are_recorded",
    "none that was seen": MODEL,
    "another optimizer: its rate": "tests/extensions/optimizers/test_facts.py"
    "::test_at_its_suggested_rate_an_update_is_at_most_as_long_as_adamws",
    "small updates are rounded away": QUADRATIC,
    "71 % of": SHARES,
    "68 % of": SHARES,
    "63 % of": SHARES,
    "75 % of": "tests/extensions/model/test_unet_blocks.py::test_any_number_is_met_by_whole_blocks",
    "the text encoders stay": UNTRAINED,
}
BASE = "--learning_rate=1e-6 --train_text_encoder --extensions=dual_tag --gradient_accumulation_steps=1"
RUNS = (
    f"{BASE} --train_batch_size=4",
    f"{BASE} --ddp_gradients_as_upstream --gradient_checkpointing",
    f"{BASE} --extensions=bf16_updates,recompute --full_bf16 --mixed_precision=bf16 --bf16_updates=kahan "
    "--recompute=none",
    "--learning_rate=1e-6 --sdpa",
    f"{BASE} --v2",
)


def offered() -> set[str]:
    """The costs of all changes that are offered to some run."""
    return {change.cost for words in RUNS for change in advice.candidates(Flags.of_text(words), 4, True)}


def test_every_cost_is_measured_somewhere():
    unmeasured = {cost for cost in offered() if not any(cost.startswith(words) for words in MEASURED)}
    assert {cost for cost in unmeasured if not re.match(r"(60|50) % of", cost)} == set()
    assert all(any(cost.startswith(words) for cost in offered()) for words in MEASURED)


@pytest.mark.parametrize("where", sorted(set(MEASURED.values())))
def test_that_test_is_there(where):
    path, _, name = where.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.upstream
@pytest.mark.parametrize("context", [None, 77])
def test_sdpa_is_the_same_attention_and_keeps_less(context, patched, monkeypatch):
    """Upstream's attention at 1,024 positions: the softmax over all pairs is not kept."""
    monkeypatch.syspath_prepend(str(patched))
    from library.sdxl_original_unet import CrossAttention

    torch.manual_seed(0)
    attention = CrossAttention(128, 96 if context else None, heads=2, dim_head=64)
    states = torch.randn(1, 1024, 128, requires_grad=True)
    texts = torch.randn(1, context, 96) if context else None
    outputs, gradients, kept = [], [], []
    for sdpa in (False, True):
        attention.set_use_sdpa(sdpa)
        outputs.append(attention(states, texts))
        gradients.append(torch.autograd.grad(outputs[-1].square().sum(), states)[0])
        kept.append(saved_bytes(attention, states, texts, autocast=False))
    for one, other in (outputs, gradients):
        assert torch.allclose(one, other, rtol=1e-4, atol=1e-5)
    assert kept[1] < kept[0] * (0.9 if context else 0.3)


def test_dividing_the_optimizer_sends_each_weight_once_more():
    from extensions.plan import communication

    own, divided = ("--extensions=dual_tag", "--extensions=dual_tag,shard_optimizer")
    flags = "--learning_rate=1e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --sdpa"
    found = [communication.of(vram.setup(Flags.of_text(f"{flags} {more}"), 4)) for more in (own, divided)]
    assert found[1].bytes - found[0].bytes == 0.75 * found[0].gradients  # of four parts each rank has one already


def test_computing_again_is_a_quarter_of_the_work():
    """At full size; benchmarks.recompute times it."""
    flags = "--learning_rate=1e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --sdpa"
    without, again = (
        levers.work(vram.setup(Flags.of_text(f"{flags} {more}"), 1)) for more in ("", "--gradient_checkpointing")
    )
    assert 1 - without / again == pytest.approx(0.25, abs=0.02)


def test_smaller_batches_have_the_same_gradient_and_keep_less():
    """The mean over four images is that of their means; and as many images an optimizer step."""
    torch.manual_seed(0)
    net, ids, target = Small(), torch.randint(0, 96, (4, 6)), torch.randn(4, 6 * 64 * 16)
    found = []
    for size in (4, 1):
        net.zero_grad()
        for first in range(0, 4, size):
            out = net(ids[first : first + size]).reshape(size, -1)
            (functional.mse_loss(out, target[first : first + size]) / (4 // size)).backward()
        found.append([parameter.grad.clone() for parameter in net.parameters()])
    assert all(torch.allclose(one, other, rtol=1e-4, atol=1e-7) for one, other in zip(*found, strict=True))
    counted = [steps.count(6224, 1, 4, batch, ga) for batch, ga in ((4, 1), (1, 4))]
    assert counted[0].optimizer_steps == counted[1].optimizer_steps
    whole, one = (saved_bytes(net, ids[:size], autocast=False) for size in (4, 1))
    assert one < 0.5 * whole


def test_the_speeds_are_recorded():
    speeds = {
        (speed.unet_percent, speed.deepspeed): speed.img_s for speed in recorded.read().speeds if speed.gpus == 4
    }
    assert speeds[100, True] == (1.231,)
    assert any(1.848 in speed.img_s for speed in recorded.read().speeds if speed.unet_percent == 71)
