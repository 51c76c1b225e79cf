"""What a run reads off its device, for which a GPU is waited for each time: counted on the CPU, by place."""

import json
from collections import Counter

import pytest

from extensions.base.paths import LAUNCHERS, ROOT
from extensions.flags.words import Flags
from extensions.logbook import registry
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), pytest.param("reference", marks=pytest.mark.slow)]
ACCUMULATION = 4


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_micro_step_reads_its_loss_and_an_update_three_numbers_more(trainer, standins, tmp_path):
    """With TEMPLATE.sh's plugins: whether gradients are finite, their norm, the timesteps; nothing a micro-step."""
    plugins = Flags(registry.ask(LAUNCHERS / "TEMPLATE.sh")[7:]).get("extensions")
    assert "on_nan" in plugins and "record_run" in plugins
    counted = tmp_path / "reads.json"
    words = f"--extensions={plugins},tests.helpers.counting_reads --bf16_updates=stochastic --recompute=upstream"
    variables = {"PROFILE": "tiny", "TINY_STEPS": 3, "TRAINER": trainer, "ARGS": words}
    done = launch("25022601", tmp_path, READS_COUNTED=str(counted), PYTHONPATH=str(ROOT), **variables)
    assert done.code == 0, done.said[-3000:]
    found = [Counter(step) for step in json.loads(counted.read_text())]
    assert len(found) == 3 * ACCUMULATION
    losses = {place for step in found for place in step if place in ("train.py:loop", "sdxl_train.py:train")}
    assert len(losses) == 1 and all(step[next(iter(losses))] == 1 for step in found)
    others = [
        step - Counter(dict.fromkeys(losses, 1)) for step in found[ACCUMULATION:]
    ]  # the loader's seed is before
    updates = [others[n : n + ACCUMULATION] for n in range(0, len(others), ACCUMULATION)]
    assert all(sum((sum(step.values()) for step in update), 0) <= 3 for update in updates), others
