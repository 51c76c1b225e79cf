"""A run that is validated, drawn and averaged, on two processes, killed and resumed: its weights are a plain run's.

And its figures are those of the run that nobody killed.
"""

import json

import pytest

from extensions.evaluation import record
from tests.proofs.killing import TRAINING, Kill, KilledRun, tensors_of

PLUGINS = "dual_tag,resume_at_step,save_states,on_nan,record_run"
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
STEPS = 5


@pytest.fixture
def flags(standins, tmp_path):
    """(flags of a training set, flags that look at it): the validation set is the other half of the stand-in."""
    entries = json.loads(standins["meta_sdxl"].read_text(encoding="utf-8"))
    for name, keys in {"train": list(entries)[::2], "own": list(entries)[1::2]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps({key: entries[key] for key in keys}))
    (tmp_path / "prompts.txt").write_text("a red fox --w 64 --h 64 --s 2\na dog --w 64 --h 64 --s 2\n")
    training = f"--gradient_accumulation_steps=1 --in_json={tmp_path / 'train.json'}"
    looks = (
        f"--extensions={PLUGINS},ema,validate,sample_images --ema_every_n_steps=1 --ema_snapshots=2 "
        f"--validation_json={tmp_path / 'own.json'} --validation_data_dir={standins['data_sdxl']} "
        "--validation_images=2 --validation_strata=2 --validate_every_n_steps=2 "
        f"--sample_prompts={tmp_path / 'prompts.txt'} --sample_every_n_steps=2"
    )
    return training, f"{training} {looks}"


def trained(folder, trainer: str, more: str, killed: bool) -> KilledRun:
    run = KilledRun(folder, trainer, 2, STEPS, more=more)
    run.start()
    if killed:
        assert run.wait_for(Kill(TRAINING, 0.5, 0))
        run.take(Kill(TRAINING, 0.5, 0))
        run.start()
    run.finish()
    return run


def figures(run: KilledRun) -> dict[int, list[float]]:
    lines = [json.loads(line) for line in (run.output / record.FILE).read_text().splitlines()]
    return {line["optimizer_step"]: line["errors"] for line in lines}


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_nobody_would_know_from_the_weights(trainer, flags, tmp_path):
    training, looked_at = flags
    alone = trained(tmp_path / "alone", trainer, f"{training} --extensions={PLUGINS}", killed=False)
    whole = trained(tmp_path / "whole", trainer, looked_at, killed=False)
    killed = trained(tmp_path / "killed", trainer, looked_at, killed=True)
    wanted = tensors_of(alone.output)
    for run in (whole, killed):
        found = tensors_of(run.output)
        assert {name: found[name] for name in wanted} == wanted
    averaged = {name: digest for name, digest in tensors_of(whole.output).items() if "ema" in name}
    assert averaged and averaged == {
        name: digest for name, digest in tensors_of(killed.output).items() if "ema" in name
    }
    assert figures(killed) == figures(whole) and list(figures(whole)) == [0, 2, 4, 5]
    columns = {path.stem.split("-", 1)[1] for path in (killed.output / "samples/step00000004").iterdir()}
    assert columns == {"raw", "ema-0.05", "ema-0.10"}
