"""ZeRO-2 and dynamo with both trainers, real processes over gloo: same losses as without them, clean checkpoints."""

import re
from pathlib import Path

import pytest
from safetensors.torch import load_file

from extensions.launch import processor
from extensions.model.checkpoint import read_header
from tests.helpers.launching import launch
from tests.proofs import parity

ENGINES = ("deepspeed", "zero_stage", "torch_compile", "dynamo_backend")
RUN = "25022301"
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
# The logbook's optimizers that ZeRO can take: how far its losses may be from DDP's, relative, and the norm of the
# difference of the weights over that of the movement. bitsandbytes keeps a scale for each 256 elements, and fp32 in
# tensors below 4096; ZeRO's one flat piece is all 8 bits and cut elsewhere. So the 8-bit ones agree until their state
# is read again: then AdamW8bit is off by 0.008, and Lion8bit, where 0.4 % of the signs turn, by 0.14.
OPTIMIZERS = {"AdamW": (1e-4, 0.01), "AdamW8bit": (1e-4, 0.03), "Lion": (1e-4, 0.01), "Lion8bit": (5e-4, 0.2)}
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


def ddp_and_zero(request, trainer: str, folder: Path, *more: tuple[str, ...]) -> list[parity.Trained]:
    """The same run by two processes of DDP, then of ZeRO-2; accumulation 4, three optimizer steps."""
    ddp = parity.Case("DDP", RUN, ENGINES, more, processes=2)
    zero = parity.Case("ZeRO-2", RUN, ENGINES[2:], more, processes=2)
    one, two = (trained(request, trainer, case, folder / case.what) for case in (ddp, zero))
    assert len(one.losses) == len(two.losses) == 24 and two.weights.keys() == one.weights.keys()
    return [one, two]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(("optimizer", "percent"), [(name, "100") for name in OPTIMIZERS] + [("AdamW", "71")])
def test_zero_trains_what_ddp_trains(trainer, optimizer, percent, request, standins, tmp_path):
    """fp32: ZeRO only divides the work. What the optimizer itself makes of the division is in OPTIMIZERS."""
    more = (("optimizer_type", optimizer), ("unet_percent", percent), extensions())
    one, two = ddp_and_zero(request, trainer, tmp_path, *more)
    losses, movement = OPTIMIZERS[optimizer]
    assert sorted(two.losses) == pytest.approx(sorted(one.losses), rel=losses)
    # Both processes' eight micro-steps of the first two optimizer steps: weights of before any state was read.
    assert sorted(two.losses[:16]) == pytest.approx(sorted(one.losses[:16]), rel=1e-5)
    base = load_file(standins["sdxl"])
    names = [name for name in base if name in one.weights]
    difference = {name: (two.weights[name] - one.weights[name]).double() for name in names}
    moved = parity.norm({name: one.weights[name].double() - base[name].double() for name in names})
    assert moved > 0 and parity.norm(difference) <= movement * moved
    if optimizer == "AdamW":
        assert max(tensor.abs().max().item() for tensor in difference.values()) < 1e-5


@pytest.mark.parametrize("trainer", TRAINERS)
def test_zero_trains_what_ddp_trains_in_full_bf16(trainer, request, standins, tmp_path):
    """AdamW8bit, as the run has it. Losses alone: DDP's weights are bf16, ZeRO keeps fp32 ones and rounds a copy.

    A sum in another order is another bf16 number, up to 2 ** -8 away, in every layer: some thousandths of the loss.
    """
    plugins = extensions() if processor.has_bf16() else extensions("cpu_bf16")
    precision = (("full_bf16",), ("mixed_precision", "bf16"))
    one, two = ddp_and_zero(request, trainer, tmp_path, ("optimizer_type", "AdamW8bit"), plugins, *precision)
    assert sorted(two.losses) == pytest.approx(sorted(one.losses), rel=2e-2)
    assert all(tensor.isfinite().all() for tensor in two.weights.values())


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


def with_backend(backend: str, folder: Path, **more):
    """One optimizer step of the run, compiled by that backend: (the finished run, its loss)."""
    flags = f"--dynamo_backend={backend} --max_token_chunks=1"
    done = launch(RUN, folder, seconds=1500, PROFILE="tiny", GPUS=1, TINY_STEPS=1, ARGS=flags, **more)
    assert done.code == 0, done.said[-3000:]
    assert re.search(r"dynamo: [1-9]\d* graphs compiled", done.said)
    (line,) = done.metrics
    return done, line["loss"]


def compiled(done) -> dict[Path, int]:
    """{library in the run's own cache: when it was written, in ns}."""
    command = (done.folder / "command.sh").read_text(encoding="utf-8")
    cache = Path(re.search(r"TORCHINDUCTOR_CACHE_DIR=(\S+)", command)[1].strip("'"))
    assert cache.parent.name == RUN
    return {path: path.stat().st_mtime_ns for path in cache.rglob("*.so")}


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("kind", [{}, {"ATEN_CPU_CAPABILITY": "avx2"}], ids=["this", "lesser"])
def test_inductor_compiles_blocks_with_the_run_s_own_cache(kind, trainer, tmp_path):
    """The real backend, on the CPU: some minutes. A lesser processor must not meet the code of a better one.

    Held against the same graphs uncompiled, which give the run's own losses (above). In bf16 inductor rounds once
    where PyTorch rounds after each operation, to 8 bits: some thousandths of the loss.
    """
    _, eager = with_backend("eager", tmp_path / "eager", TRAINER=trainer, **kind)
    done, loss = with_backend("inductor", tmp_path / "inductor", TRAINER=trainer, **kind)
    assert loss == pytest.approx(eager, rel=2e-2)
    assert compiled(done)


def test_a_second_launch_finds_the_compiled_code(tmp_path):
    first, loss = with_backend("inductor", tmp_path / "first", TRAINER="reference")
    libraries = compiled(first)
    second, again = with_backend("inductor", tmp_path / "second", TRAINER="reference")
    assert libraries and compiled(second) == libraries and again == loss
