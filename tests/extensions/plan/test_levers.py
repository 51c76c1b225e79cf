"""Levers in order: what each frees is the plan's, what each gives follows from counted work and recorded speeds."""

import pytest

from extensions.flags.words import Flags
from extensions.plan import communication, levers, recorded, vram, vram_fit

FIT = vram_fit.fit(vram_fit.known(recorded.read().readings))
BASE = (
    "--learning_rate=1.5e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --gradient_checkpointing --sdpa "
    "--gradient_accumulation_steps=4 --optimizer_type=AdamW8bit --dataset_class=x --extensions=unet_percent,dual_tag"
)
TFLOP = 1e12


def found(more="", gpus=4, card=24.0):
    return levers.of(Flags.of_text(f"{BASE} {more}"), gpus, card, FIT)


def setup(more, gpus=1):
    return vram.setup(Flags.of_text(f"{BASE} {more}"), gpus)


@pytest.mark.parametrize(
    ("share", "backward"),
    [(100, 13.52), (71, 11.58), (63, 10.89)],
)
def test_work_is_what_was_counted(share, backward):
    """By torch's FlopCounterMode on the meta device, 1024x1024, 77 tokens; encoders 0.33 and 0.11 for a chunk."""
    again = levers.work(setup(f"--unet_percent={share}")) / TFLOP
    without = levers.work(
        vram.setup(Flags.of_text(f"{BASE} --unet_percent={share}").without("gradient_checkpointing"), 1)
    )
    assert without / TFLOP == pytest.approx(6.76 + backward + 0.33, rel=0.02)
    assert again - without / TFLOP == pytest.approx(6.69 + 0.11, rel=0.02)


@pytest.mark.parametrize(("accumulation", "speed"), [(4, 3.259), (64, 4.0)])
def test_the_recorded_speeds_come_out(accumulation, speed):
    flags = levers.KNOWN.with_("gradient_accumulation_steps", accumulation)
    assert levers.expected(vram.setup(flags, 4)) == pytest.approx(speed, rel=1e-3)


def test_each_lever_frees_and_the_last_fills_the_card():
    upstream, once, divided, auto = found("--unet_percent=100")
    assert upstream.gb > 24 > once.gb > 20 > divided.gb
    assert divided.gb < auto.gb <= 24 * 0.96 + 0.01
    assert [lever.gb for lever in (once, divided)] == [
        pytest.approx(vram.need(vram.setup(Flags.of_text(f"{BASE} {more}"), 4), FIT))
        for more in ("", "--extensions=unet_percent,dual_tag,shard_optimizer")
    ]


def test_dividing_costs_what_travels_and_recomputing_less_gives_it_back():
    upstream, once, divided, auto = found("--unet_percent=71")
    assert once.speed == upstream.speed and divided.speed < once.speed < auto.speed
    travels = 16 / divided.speed - 16 / once.speed
    gradients = communication.of(vram.setup(Flags.of_text(f"{BASE} --unet_percent=71"), 4)).bytes
    assert travels == pytest.approx(0.5 * gradients / communication.bandwidth(communication.LONG_HOST))


def test_the_run_s_own_levers_change_nothing():
    own = "--ddp_gradients_as_upstream --extensions=unet_percent,dual_tag,shard_optimizer"
    assert found(own) == found("")


@pytest.mark.parametrize("more", ["--deepspeed", "--v2"])
def test_what_is_not_known_has_no_rows(more):
    assert not found(more) and not found(gpus=1)
