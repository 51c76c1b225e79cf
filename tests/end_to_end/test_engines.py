"""ZeRO-2 and dynamo with both trainers, real processes over gloo: same losses as without them, clean checkpoints."""

import re
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).parent))
from launching import launch

from extensions.checkpoint import read_header
from extensions.reference import parity

ENGINES = ("deepspeed", "zero_stage", "torch_compile", "dynamo_backend")
RUN = "25022301"
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
pytestmark = pytest.mark.slow


def extensions(*names: str) -> tuple[str, str]:
    return "extensions", ",".join(("unet_percent", "dual_tag", "token_chunks", *names))


def trained(request, trainer: str, case: parity.Case, folder: Path) -> parity.Trained:
    """A case with one trainer, some micro-steps long."""
    patched = request.getfixturevalue("patched") if trainer == "sd-scripts" else None
    return parity.train(case, folder, patched)


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """One epoch of the stand-in set on two processes: the last accumulation has two micro-steps of four."""
    monkeypatch.setattr(parity, "MICRO_STEPS", 8)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("percent", ["100", "71"])
def test_zero_trains_what_ddp_trains(trainer, percent, request, standins, tmp_path):
    """fp32, accumulation 4, two processes, torch's AdamW: ZeRO only divides the work."""
    more = (("optimizer_type", "AdamW"), ("unet_percent", percent), extensions())
    ddp = parity.Case("DDP", RUN, ENGINES, more, processes=2)
    zero = parity.Case("ZeRO-2", RUN, ENGINES[2:], more, processes=2)
    one, two = (trained(request, trainer, case, tmp_path / case.what) for case in (ddp, zero))
    assert len(one.losses) >= 20 and sorted(two.losses) == pytest.approx(sorted(one.losses), rel=1e-4)
    assert two.weights.keys() == one.weights.keys()
    worst = max((two.weights[name] - one.weights[name]).abs().max().item() for name in one.weights)
    assert worst < 1e-5


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("scope", ["model", "blocks"])
def test_dynamo_changes_no_loss(trainer, scope, request, standins, tmp_path, monkeypatch):
    shape = ()
    if scope == "model":  # a minute of compiling a shape: fewer of them
        monkeypatch.setattr(parity, "MICRO_STEPS", 1)
        shape = (("max_token_chunks", "1"),)
    more = (("dynamo_backend", "aot_eager"), ("compile_scope", scope), extensions("dynamo"))
    plain = parity.Case("eager", RUN, ENGINES, (extensions(), *shape))
    compiled = parity.Case("dynamo", RUN, ENGINES[:2], (*more, *shape))
    one, two = (trained(request, trainer, case, tmp_path / case.what) for case in (plain, compiled))
    assert two.losses == pytest.approx(one.losses, rel=1e-4)
    assert two.weights.keys() == one.weights.keys()


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_run_as_the_logbook_has_it(trainer, tmp_path):
    """ZeRO-2, dynamo, mem_eff_attn, accumulation 4, both encoders, 100 %, full bf16, two processes, two workers."""
    flags = "--max_data_loader_n_workers=2 --persistent_data_loader_workers"
    done = launch(RUN, tmp_path, PROFILE="tiny", TRAINER=trainer, GPUS=2, TINY_STEPS=2, ARGS=flags)
    assert done.code == 0, done.said[-3000:]
    graphs = [int(count) for count in re.findall(r"dynamo: (\d+) graphs compiled", done.said)]
    assert len(graphs) == 2 and min(graphs) > 0
    saved = read_header(done.output / "last.safetensors")
    base = read_header(Path(done.manifest["base_model"]["path"]))
    buffers = {name for name in base.shapes if name.endswith("position_ids")}  # not every writer keeps them
    assert saved.shapes.keys() - buffers == base.shapes.keys() - buffers
    assert not [name for name in saved.shapes if "_orig_mod" in name or ".module." in name]
    assert {str(tensor.dtype) for tensor in load_file(done.output / "last.safetensors").values()} == {"torch.float16"}


@pytest.mark.upstream
def test_a_state_is_saved_by_all_processes_and_loads_again(tmp_path):
    """Upstream's --save_state under ZeRO-2: each process's shard is there, and --resume goes on from it."""
    flags = "--save_state --save_every_n_steps=1 --dynamo_backend=eager"
    done = launch(RUN, tmp_path, PROFILE="tiny", GPUS=2, TINY_STEPS=2, ARGS=flags)
    assert done.code == 0, done.said[-3000:]
    states = sorted(done.output.glob("*-state"))
    assert len(states) == 3, states  # after each step and at the end
    for state in states:
        assert len(list(state.rglob("*zero_pp_rank_*_optim_states.pt"))) == 2
        assert len(list(state.glob("random_states_*.pkl"))) == 2
    flags = f"--resume='{states[0]}'"
    again = launch(RUN, tmp_path, PROFILE="tiny", GPUS=2, TINY_STEPS=1, FORCE=1, ARGS=flags)
    assert again.code == 0, again.said[-3000:]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("processor", [{}, {"ATEN_CPU_CAPABILITY": "avx2"}], ids=["this", "lesser"])
def test_inductor_compiles_blocks_with_the_run_s_own_cache(processor, trainer, tmp_path):
    """The real backend, on the CPU: some minutes. A lesser processor must not meet the code of a better one."""
    flags = "--dynamo_backend=inductor --max_token_chunks=1"
    tiny = {"PROFILE": "tiny", "GPUS": 1, "TINY_STEPS": 1, "TRAINER": trainer}
    done = launch(RUN, tmp_path, seconds=1500, ARGS=flags, **tiny, **processor)
    assert done.code == 0, done.said[-3000:]
    assert re.search(r"dynamo: [1-9]\d* graphs compiled", done.said)
    command = (done.folder / "command.sh").read_text(encoding="utf-8")
    cache = Path(re.search(r"TORCHINDUCTOR_CACHE_DIR=(\S+)", command)[1].strip("'"))
    assert cache.parent.name == RUN and any(cache.rglob("*.so"))
