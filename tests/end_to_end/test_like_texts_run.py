"""Batches of texts of like length: a run that is stopped goes on to the last bit, and pads less."""

import pytest
from safetensors.torch import load_file

from tests.helpers.launching import launch

RUN = "25022601"
WORDS = "--batch_texts=like --train_batch_size=2 --gradient_accumulation_steps=1"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "processes"), [pytest.param("sd-scripts", 2, marks=pytest.mark.upstream), ("reference", 1)]
)
def test_a_stopped_run_goes_on_to_the_last_bit(trainer, processes, standins, tmp_path):
    tiny = {"PROFILE": "tiny", "TINY_STEPS": 8, "TRAINER": trainer, "GPUS": processes}
    whole = launch(RUN, tmp_path / "whole", **tiny, ARGS=WORDS)
    assert whole.code == 0, whole.said[-3000:]
    for stop in (3, 5):
        part = launch(RUN, tmp_path / "parts", **tiny, RESUME="auto", ARGS=f"{WORDS} --stop_at_step={stop}")
        assert part.code == 0, part.said[-3000:]
    last = launch(RUN, tmp_path / "parts", **tiny, RESUME="auto", ARGS=WORDS)
    assert last.code == 0, last.said[-3000:]
    one, other = (load_file(run.output / "last.safetensors") for run in (whole, last))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    again = f"{WORDS} --batch_texts=as_drawn --max_train_steps=9"
    refused = launch(RUN, tmp_path / "parts", **tiny, RESUME="auto", ARGS=again)
    assert refused.code == 2 and "batch_texts" in refused.said, refused.said[-500:]
