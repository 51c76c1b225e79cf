"""A tiny run on two sources, one of which begins later: told by source, and gone on with to the last bit."""

import pytest
from safetensors.torch import load_file

from tests.helpers.launching import launch
from tests.helpers.mixtures import halves

RUN = "25022601"
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"


@pytest.fixture
def mixed(standins, tmp_path):
    """The stand-in's two halves, the second from the third optimizer step on."""
    return halves(standins["meta_sdxl"], tmp_path, 3)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"])
def test_a_mixture_is_trained_told_and_gone_on_with(trainer, mixed, tmp_path):
    words = f"--extensions={PLUGINS} --gradient_accumulation_steps=2 --in_json={mixed}"
    tiny = {"PROFILE": "tiny", "TINY_STEPS": 4, "TRAINER": trainer}
    whole = launch(RUN, tmp_path / "whole", **tiny, ARGS=words)
    assert whole.code == 0, whole.said[-3000:]
    sources = [set(line["loss_by_source"]) for line in whole.metrics if "loss" in line]
    assert sources[:2] == [{"even"}, {"even"}] and "odd" in set.union(*sources[2:])
    first = launch(RUN, tmp_path / "parts", **tiny, ARGS=f"{words} --stop_at_step=3")
    assert first.code == 0, first.said[-3000:]
    second = launch(RUN, tmp_path / "parts", **tiny, RESUME="auto", ARGS=words)
    assert second.code == 0, second.said[-3000:]
    one, other = (load_file(run.output / "last.safetensors") for run in (whole, second))
    assert one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)
    mixed.write_text(mixed.read_text().replace("first_step = 3", "first_step = 2"))
    refused = launch(RUN, tmp_path / "parts", **tiny, RESUME="auto", ARGS=f"{words} --max_train_steps=6")
    assert refused.code == 2 and "was made with other" in refused.said
