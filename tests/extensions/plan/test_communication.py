"""What the ranks exchange: the recorded speeds, a sum over a ring counted by hand, and when it is no matter."""

import pytest

from extensions.flags.words import Flags
from extensions.plan import communication, recorded, vram

BASE = (
    "--learning_rate=1e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --sdpa --optimizer_type=AdamW8bit "
    "--gradient_accumulation_steps=4 --extensions=unet_percent --unet_percent=71"
)


def exchange(more="", gpus=4):
    return communication.of(vram.setup(Flags.of_text(f"{BASE} {more}"), gpus))


def test_the_recorded_speeds_come_out():
    """Of the machine with two runs both, by one micro-step and one bandwidth; of the others the one."""
    micro_step = communication.micro_step()
    assert micro_step == pytest.approx(0.985, abs=0.001)
    for host, speed in communication.HOSTS.items():
        fixed = exchange().bytes / communication.bandwidth(host)
        assert 16 / (4 * micro_step + fixed) == pytest.approx(speed, rel=1e-6)
    fixed = exchange().bytes / communication.bandwidth(communication.LONG_HOST)
    assert fixed == pytest.approx(0.97, abs=0.01)
    assert 256 / (64 * micro_step + fixed) == pytest.approx(4.0, rel=1e-6)


def test_the_speeds_are_the_records():
    found = {speed.img_s for speed in recorded.read().speeds if speed.gpus == 4 and not speed.deepspeed}
    assert {(communication.HOSTS["EPYC 7F52"],), (communication.LONG_SPEED,)} <= found
    assert any(communication.HOSTS["Xeon W-2295"] in speeds for speeds in found)


@pytest.mark.parametrize("ranks", [2, 3, 4, 8])
def test_bytes_into_a_rank_are_those_of_a_ring(ranks):
    """Reduce-scatter and all-gather: in each, every rank takes in all pieces but one."""
    pieces = [1.0] * ranks
    taken_in = 2 * (sum(pieces) - pieces[0]) / sum(pieces)
    assert communication.passes(ranks) == pytest.approx(taken_in)


def test_who_divides_the_optimizer_sends_the_weights_too():
    plain, divided = exchange(), exchange("--extensions=unet_percent,shard_optimizer")
    assert divided.bytes == pytest.approx(1.5 * plain.bytes)
    assert exchange(gpus=1) is None


def test_zero_exchanges_in_each_micro_step():
    four, one = exchange("--deepspeed"), exchange("--deepspeed --gradient_accumulation_steps=1")
    assert four.bytes / one.bytes == pytest.approx(5 / 2)
    assert four.enough(8e9) == "-"


@pytest.mark.parametrize("rate", [1.3e9, 8e9, 60e9])
def test_below_a_tenth_is_where_it_says(rate):
    enough = int(exchange().enough(rate))

    def share(count):
        found = exchange().bytes / rate
        return found / (found + count * communication.micro_step())

    assert share(enough) <= 0.1 and (enough == 1 or share(enough - 1) > 0.1)
