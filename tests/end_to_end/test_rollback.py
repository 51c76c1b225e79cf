"""One latent that makes NaN: the run stops and names it, or goes on from its last state without it."""

import re
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from extensions.data import index
from extensions.data.corrupt import candidates
from extensions.data.order import EpochOrder
from extensions.launch import command, processor
from extensions.resume import states
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=[pytest.mark.upstream, pytest.mark.slow]), "reference"]
RUN, STEPS, BAD = "24120801", 5, 3  # no accumulation: optimizer step 3 sees one image
SETTINGS = {"PROFILE": "tiny", "TINY_STEPS": STEPS}


@pytest.fixture
def data(standins, tmp_path):
    """(flags for a copy of the stand-in set, the id whose latents overflow in the third optimizer step)."""
    folder, meta = tmp_path / "latents", tmp_path / "meta_lat.json"
    shutil.copytree(standins["data_sdxl"], folder)
    shutil.copy(standins["meta_sdxl"], meta)
    rows = index.open_for(meta, folder)
    seed = int(RUN)  # the launcher's
    key = rows[int(EpochOrder(rows.bucket, 1, seed, 0).batch(BAD - 1)[0])].key
    overflow(folder / f"{key}.npz")
    return f"--in_json='{meta}' --train_data_dir='{folder}' --states_every_n_steps=1", key


def overflow(path):
    """Finite, so that no check of the data finds it."""
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["latents"] = np.full_like(arrays["latents"], 3e38)
    np.savez(path, **arrays)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_stands_in_for_a_corrupt_latent_is_named_and_left_out(standins, trainer, tmp_path):
    """A planned image is corrupt, and the one that --bad_sample=skip takes in its place makes NaN."""
    folder = tmp_path / "latents"
    shutil.copytree(standins["data_sdxl"], folder)
    rows = index.open_for(standins["meta_sdxl"], folder)
    order = EpochOrder(rows.bucket, 1, int(RUN), 0).rows.tolist()
    next_of = {row: list(candidates(rows.bucket, row))[1] for row in order}
    place, planned = next((at, row) for at, row in enumerate(order[1:STEPS], 1) if next_of[row] not in order[:STEPS])
    corrupt, culprit = rows[planned].key, rows[next_of[planned]].key
    (folder / f"{corrupt}.npz").write_bytes(b"broken")
    overflow(folder / f"{culprit}.npz")
    plugins = "dual_tag,resume_at_step,save_states,on_nan,bad_sample,record_run" + (
        "" if processor.has_bf16() else ",cpu_bf16"
    )
    flags = f"--train_data_dir='{folder}' --states_every_n_steps=1 --extensions={plugins} --bad_sample=skip"
    done = launch(RUN, tmp_path, ARGS=f"{flags} --on_nan=rollback", TRAINER=trainer, **SETTINGS)
    assert done.code == 0, done.said[-3000:]
    assert f"not finite at optimizer step {place + 1}; its samples: {culprit}; last good state" in done.said
    assert done.said.count("rolling back: ") == 1 and f"without {culprit}" in done.said
    state = states.newest_good(states.folder_of(done.output))
    assert state.facts.skipped == [[next_of[planned], place, culprit]]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_it_stops_with_a_code_of_its_own_and_says_what_to_know(data, trainer, tmp_path):
    flags, key = data
    done = launch(RUN, tmp_path, ARGS=flags, TRAINER=trainer, **SETTINGS)
    assert done.code == 76, done.said[-3000:]
    line = next(line for line in done.said.splitlines() if line.startswith("error: "))
    assert f"not finite at optimizer step {BAD}" in line and key in line and "step00000002" in line
    assert "Traceback" not in done.said and not (done.output / "last.safetensors").exists()
    assert done.manifest["exit_code"] == 76
    # What stopped the run is what `make batch` shows for that step, and for no other.
    named = [
        step for step in range(1, STEPS + 1) if key in launch(RUN, tmp_path, ARGS=flags, STEP=step, **SETTINGS).said
    ]
    assert named == [BAD]


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_make_batch_shows_the_global_batch_that_stopped_two_processes(data, trainer, tmp_path):
    flags, key = data
    asked = SETTINGS | {"ARGS": f"{flags} --gradient_accumulation_steps=2", "GPUS": 2, "TRAINER": trainer}
    done = launch(RUN, tmp_path, **asked)
    step = int(re.search(r"not finite at optimizer step (\d+); its samples: ", done.said)[1])
    shown = {n: launch(RUN, tmp_path, STEP=n, **asked).said for n in range(1, STEPS + 1)}
    assert [n for n, said in shown.items() if key in said] == [step]
    rows = re.findall(r"^│ (\d) +│ (\d) +│ (\S+) +│", shown[step], re.MULTILINE)
    assert [row[:2] for row in rows] == [("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")]
    assert f"its samples: {', '.join(row[2] for row in rows)}; " in done.said


@pytest.mark.parametrize("trainer", TRAINERS)
def test_rolled_back_it_ends_without_that_sample(data, trainer, tmp_path):
    flags, key = data
    done = launch(RUN, tmp_path, ARGS=f"{flags} --on_nan=rollback", TRAINER=trainer, **SETTINGS)
    assert done.code == 0, done.said[-3000:]
    assert done.said.count("rolling back: ") == 1 and f"without {key}" in done.said
    state = states.newest_good(states.folder_of(done.output))
    assert state.optimizer_steps == STEPS and len(state.facts.skipped) == 1
    assert (done.output / "last.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_two_machines_roll_back_together(data, trainer, tmp_path):
    """Two launchers that share a disk, one process each, on the loopback interface."""
    flags, key = data
    meeting = {"NNODES": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": command.free_port(), "TRAINER": trainer}

    def machine(rank):
        return launch(RUN, tmp_path, ARGS=f"{flags} --on_nan=rollback", NODE_RANK=rank, **meeting, **SETTINGS)

    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(machine, (0, 1)))
    for done in both:
        assert done.code == 0, done.said[-3000:]
        line = next(line for line in done.said.splitlines() if line.startswith("rolling back: "))
        assert done.said.count("rolling back: ") == 1 and key in line and "step00000001" in line
    state = states.newest_good(states.folder_of(both[0].output))
    assert state.optimizer_steps == STEPS and len(state.facts.skipped) == 2  # of the one global batch
