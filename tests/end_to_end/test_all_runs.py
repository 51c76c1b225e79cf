"""All runs of the logbook on stand-ins, two optimizer steps each, with each trainer. More than an hour."""

import pytest
from safetensors import safe_open

from extensions.logbook import registry
from extensions.logbook.registry import Run
from tests.helpers.launching import launch

RUNS = registry.read_all()
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
# The optimizers', the engines' and the topologies' runs, on as many processes as they have, two at the most.
SEVERAL = [
    run for name, run in RUNS.items() if run.session == "2503b" or name in ("25022301", "25030401", "25030402")
]
pytestmark = pytest.mark.slow


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("run", RUNS.values(), ids=lambda run: run.run)
def test_run(run: Run, trainer, standins, tmp_path):
    done = launch(run.run, tmp_path, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer)
    require_model(done, standins)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("run", SEVERAL, ids=lambda run: run.run)
def test_run_on_several_processes(run: Run, trainer, standins, tmp_path):
    done = launch(run.run, tmp_path, PROFILE="tiny", TINY_STEPS=2, TRAINER=trainer, GPUS=2)
    require_model(done, standins)
    assert done.manifest["processes"] == 2 and done.metrics[-1]["samples"] == 2 * done.metrics[-1]["micro_step"]


def require_model(run, standins) -> None:
    """It ended well, its loss is one, and its checkpoint has the base model's tensors."""
    assert run.code == 0, run.said[-3000:]
    assert run.metrics[-1]["loss"] < 10
    family = "sd2" if run.manifest["script"] == "fine_tune.py" else "sdxl"
    assert shapes(run.output / "last.safetensors") == shapes(standins[family])


def shapes(path):
    """Key names and shapes; SDXL's position_ids are a buffer that not every writer keeps."""
    with safe_open(path, framework="pt") as file:
        found = {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}
    return {key: shape for key, shape in found.items() if not key.endswith("position_ids")}
