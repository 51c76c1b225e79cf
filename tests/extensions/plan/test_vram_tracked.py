"""The memory model against PyTorch's memory tracker: whole updates of the real full-size models, of fake tensors."""

import bitsandbytes
import lion_pytorch
import pytest
import transformers

from extensions.flags.words import Flags
from extensions.plan import vram
from extensions.plan.updating import STEP
from tests.helpers import tracked_step

BASE = "--learning_rate=1e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --sdpa --dataset_class=x"
TEXTS = "--max_token_length=225 --token_chunks=a1111"
CHECKPOINTING, HALVES = "--gradient_checkpointing", "--extensions=recompute --recompute=4"
OPTIMIZERS = {
    "AdamW8bit": lambda parameters: bitsandbytes.optim.AdamW8bit(parameters, lr=1e-6),
    "lion_pytorch.Lion": lambda parameters: lion_pytorch.Lion(parameters, lr=1e-6),
    "AdaFactor": lambda parameters: transformers.Adafactor(
        parameters, lr=1e-6, relative_step=False, scale_parameter=False
    ),
}
CASES = [
    (f"{CHECKPOINTING} --unet_percent=71 {TEXTS}", "AdamW8bit"),
    (f"--unet_percent=71 {TEXTS}", "AdamW8bit"),
    (f"{HALVES} {TEXTS}", "AdamW8bit"),
    (f"{CHECKPOINTING} --resolution=832,1216 --train_batch_size=4", "lion_pytorch.Lion"),
    (f"{CHECKPOINTING} --unet_percent=60 --resolution=512", "AdaFactor"),
]


@pytest.mark.slow
@pytest.mark.upstream
@pytest.mark.parametrize(("flags", "optimizer"), CASES)
def test_the_plan_is_what_the_tracker_counts(flags, optimizer, patched):
    """The tracker frees at once what the allocator keeps: a step's moment and the pass are not there together."""
    words = f"{BASE} {flags} --optimizer_type={optimizer}"
    parts = vram.parts(vram.setup(Flags.of_text(words), 1))
    passing = {"activations", STEP, vram.BEYOND}
    stays = sum(size for name, size in parts.items() if name not in passing)
    peak = tracked_step.peak(words, OPTIMIZERS[optimizer])
    assert stays + max(parts["activations"], parts.get(STEP, 0)) == pytest.approx(peak, rel=0.03)
    if parts["activations"] > parts.get(STEP, 0):
        assert parts["activations"] == pytest.approx(peak - stays, rel=0.05)
