"""Two processes with gradients kept once and an optimizer divided between them: plain DDP's weights, bit for bit."""

import pytest
from safetensors.torch import load_file

from extensions.resume import states
from tests.helpers.launching import launch

RUN, SD2 = "25022601", "24122001"
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"
DIVIDED = f"--extensions={PLUGINS},shard_optimizer"
UPSTREAM = "--ddp_gradients_as_upstream"
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
STEPS = 3
pytestmark = pytest.mark.slow


def run(trainer, output, *words, of=RUN, **more):
    environment = {"PROFILE": "tiny", "TINY_STEPS": STEPS, "GPUS": 2, "TRAINER": trainer, "ARGS": " ".join(words)}
    done = launch(of, output, **environment | more)
    assert done.code == 0, done.said[-3000:]
    return done


def weights(done) -> dict:
    return load_file(done.output / "last.safetensors")


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(tensor.equal(other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("trainer", TRAINERS)
def test_what_is_trained_does_not_depend_on_where_gradients_and_state_are(trainer, standins, tmp_path):
    """Accumulation 4, full bf16, AdamW8bit, 71 % and both encoders, as the logbook has it."""
    plain = run(trainer, tmp_path / "plain", UPSTREAM)
    once = run(trainer, tmp_path / "once")
    divided = run(trainer, tmp_path / "divided", DIVIDED)
    assert "GB of state on this rank" in divided.said and "on this rank" not in once.said
    assert same(weights(plain), weights(once)) and same(weights(plain), weights(divided))
    files = states.newest_good(states.folder_of(divided.output)).facts.files
    assert [name for name in files if name.startswith("optimizer")] == [
        f"optimizer-share-{n}.safetensors" for n in (0, 1)
    ]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_a_state_goes_on_divided_or_not(trainer, standins, tmp_path):
    """One step divided, one whole, one divided again, each in processes of its own: the unbroken run's weights."""
    whole = run(trainer, tmp_path / "whole")
    run(trainer, tmp_path / "parts", DIVIDED, "--stop_at_step=1")
    run(trainer, tmp_path / "parts", "--stop_at_step=2", RESUME="auto")
    last = run(trainer, tmp_path / "parts", DIVIDED, RESUME="auto")
    assert same(weights(whole), weights(last))


@pytest.mark.parametrize("trainer", TRAINERS)
def test_sd2_trains_what_plain_ddp_trains(trainer, standins, tmp_path):
    plain, once = (run(trainer, tmp_path / name, *words, of=SD2) for name, words in (("p", [UPSTREAM]), ("o", [])))
    assert same(weights(plain), weights(once))


@pytest.mark.parametrize("trainer", TRAINERS)
def test_averages_beside_a_divided_optimizer_are_those_beside_a_whole_one(trainer, standins, tmp_path):
    """And a state of both goes on: averages are copied while a rank's weights may still be under way."""
    ema = "--ema_every_n_steps=1 --save_precision=float"
    whole = run(trainer, tmp_path / "whole", f"--extensions={PLUGINS},ema", ema)
    run(trainer, tmp_path / "parts", f"{DIVIDED},ema", ema, "--stop_at_step=2")
    parts = run(trainer, tmp_path / "parts", f"{DIVIDED},ema", ema, RESUME="auto")
    names = sorted(path.name for path in whole.output.glob("*.safetensors"))
    assert len(names) > 1 and names == sorted(path.name for path in parts.output.glob("*.safetensors"))
    for name in names:
        assert same(load_file(whole.output / name), load_file(parts.output / name)), name
