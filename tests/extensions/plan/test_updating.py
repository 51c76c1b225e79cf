"""Gradients and optimizer of one process, by part: sums that can be done by hand."""

import pytest

from extensions.flags.words import Flags
from extensions.plan import updating, vram
from extensions.plan.vram import GB, Fit

FIT = Fit(reserve=1.2, cached=0.9)
UNET = 2_567_463_684
ALL = UNET + 115_971_072 + 694_659_840
BASE = "--learning_rate=1e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --gradient_checkpointing --sdpa"
ZERO = f"{BASE} --deepspeed --zero_stage=2 --gradient_accumulation_steps=4"


def setup(flags, gpus=1):
    return vram.setup(Flags.of_text(flags), gpus)


def parts(flags, gpus=1):
    return vram.parts(setup(flags, gpus))


AS_UPSTREAM = f"{BASE} --extensions=dual_tag --ddp_gradients_as_upstream"


@pytest.mark.parametrize(
    ("flags", "copies"),
    [
        (f"{BASE} --extensions=dual_tag", 1),
        (BASE, 2),  # without plugins the trainer is upstream's
        (AS_UPSTREAM, 2),
        (f"{AS_UPSTREAM} --ddp_gradient_as_bucket_view", 1),
        (f"{AS_UPSTREAM} --ddp_gradient_as_bucket_view --gradient_accumulation_steps=4", 2),
        (f"{BASE} --extensions=dual_tag --ddp_static_graph", 2),
    ],
)
def test_ddp_keeps_a_second_copy_unless_gradients_are_views(flags, copies):
    """tests/extensions/optimizers/test_gradients.py counts them in real processes."""
    assert parts(flags, gpus=4).get("gradient buckets (DDP)", 0) == (copies - 1) * 2 * ALL
    assert "gradient buckets (DDP)" not in parts(flags)


def test_kahan_is_one_more_buffer():
    plain, kahan = parts(BASE), parts(f"{BASE} --bf16_updates=kahan")
    assert kahan["optimizer state"] - plain["optimizer state"] == 2 * ALL


def test_bf16_updates_steps_stand_ins_of_the_largest_tensor():
    encoder, alone = f"{BASE} --optimizer_type=AdamW8bit", BASE.replace("--train_text_encoder", "")
    assert updating.STEP not in parts(encoder) and updating.STAND_INS not in parts(
        f"{encoder} --bf16_updates=nearest"
    )
    # fp32 weight and gradient: SDXL's second token embedding, the U-Net's largest kernel.
    assert parts(f"{encoder} --bf16_updates=stochastic")[updating.STAND_INS] == 8 * 49408 * 1280
    unet = parts(f"{alone} --optimizer_type=AdamW8bit --bf16_updates=stochastic")
    assert unet[updating.STAND_INS] == 8 * 1280 * 2560 * 9
    # And the old remainder in fp32.
    assert parts(f"{encoder} --bf16_updates=kahan")[updating.STAND_INS] == 12 * 49408 * 1280


def test_adamw4bit_is_unpacked_in_its_step():
    four = parts(f"{BASE} --optimizer_type=extensions.optimizers.AdamW4bit")
    assert four[updating.STEP] / GB == pytest.approx(3.4, abs=0.05)


def test_before_the_first_step_no_stand_in_is_made():
    made = setup(f"{BASE} --optimizer_type=AdamW8bit --bf16_updates=stochastic")
    took = vram.parts(made)["optimizer state"] + vram.parts(made)[updating.STAND_INS]
    assert vram.need(made, FIT) - vram.need(made, FIT, before_first_step=True) == pytest.approx(took / GB)


def test_zero_2_divides_all_but_the_weights():
    one, four = (parts(f"{ZERO} --optimizer_type=Lion8bit", gpus) for gpus in (1, 4))
    assert four["weights, U-Net"] == one["weights, U-Net"] == 2 * UNET
    for part in ("fp32 master weights (ZeRO share)", "gradients (ZeRO share)", "optimizer state (ZeRO share)"):
        assert four[part] == pytest.approx(one[part] / 4, rel=1e-6)
    assert four["fp32 master weights (ZeRO share)"] == pytest.approx(ALL, abs=4 * 3)


@pytest.mark.parametrize("gpus", [2, 4, 8])
def test_who_divides_the_optimizer_has_its_share_and_some_messages(gpus):
    whole = parts(f"{BASE} --optimizer_type=AdamW8bit")[updating.STATE]
    found = parts(f"{BASE} --optimizer_type=AdamW8bit --extensions=shard_optimizer", gpus)
    assert whole / gpus <= found[updating.STATE] < 1.02 * whole / gpus
    assert found[updating.EXCHANGE] == 3 * 64 * 2**20
    assert updating.EXCHANGE not in parts(f"{BASE} --extensions=shard_optimizer")
