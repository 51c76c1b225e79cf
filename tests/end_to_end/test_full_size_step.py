"""SDXL at full size takes optimizer steps on a CPU: exactly resumed, in the memory that the plan says.

Random weights of the real shapes, 71 % of the U-Net and both text encoders in full bf16, AdaFactor, small images: it
wants 24 GB of memory and 42 GB of disk, for up to half an hour on two cores.
"""

import multiprocessing
import os
import shutil
import subprocess
import threading
import time
from types import SimpleNamespace

import psutil
import pytest
from safetensors.torch import save_file

from benchmarks.gpu.inputs import drawn, make_data
from extensions.base.paths import LAUNCHERS
from extensions.flags.words import Flags
from extensions.plan import vram
from extensions.resume import states
from extensions.text.tokenizers import ensure_tokenizers

RUN = "25022601"
SIDE = 256  # pixels
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"
ROOM = {"memory": 22e9, "disk": 42e9}
FLAGS = (
    f"--extensions={PLUGINS} --unet_percent=71 --dual_tag=concat --token_chunks=a1111 --train_text_encoder "
    "--optimizer_type=AdaFactor --optimizer_args relative_step=False scale_parameter=False warmup_init=False "
    "--learning_rate=1e-5 --learning_rate_te1=1e-5 --learning_rate_te2=1e-5 --lr_scheduler=constant "
    "--full_bf16 --mixed_precision=bf16 --gradient_checkpointing --gradient_accumulation_steps=1 "
    "--train_batch_size=1 --max_grad_norm=0 --max_data_loader_n_workers=0 --states_every_n_steps=0 "
    "--save_precision=bf16 --cache_latents"
)
pytestmark = [pytest.mark.slow, pytest.mark.upstream]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with the model, images and tokenizers; it is removed, for it has the size of a model."""
    folder = tmp_path_factory.mktemp("full")
    free = {"memory": psutil.virtual_memory().available, "disk": shutil.disk_usage(folder).free}
    if low := [name for name, least in ROOM.items() if free[name] < least]:
        pytest.skip(f"{low[0]}: {free[low[0]] / 1e9:.0f} GB are free, {ROOM[low[0]] / 1e9:.0f} are needed")
    # In a process of its own: of what this one frees its allocator would keep some gigabytes.
    making = multiprocessing.get_context("spawn").Process(target=make_model, args=(folder / "base.safetensors",))
    making.start()
    making.join()
    assert making.exitcode == 0
    ensure_tokenizers(folder / "tokenizers")
    make_data(folder / "data", ((SIDE, SIDE),))
    yield folder
    shutil.rmtree(folder)


def make_model(path) -> None:
    """Write SDXL's single file in fp16, with random weights."""
    save_file(drawn(SimpleNamespace(tiny=False, device="cpu")), path)


class Watched:
    """A run whose hook calls and memory are followed: when its optimizer steps ended, and (time, bytes) samples."""

    def __init__(self, folder, output, *more: str, **variables):
        data = folder / "data"
        made = [
            f"--pretrained_model_name_or_path={folder / 'base.safetensors'}", f"--in_json={data / 'meta_lat.json'}",
            f"--train_data_dir={data / 'latents'}", f"--tokenizer_cache_dir={folder / 'tokenizers'}",
        ]  # fmt: skip
        environment = os.environ | variables | {
            "OUTPUT": str(output), "LOGS": str(output / "logs"), "CPU": "1", "GPUS": "1", "RAMDISK": "0",
            # The C library gives back what is freed, so that what a process has is what it uses.
            "MALLOC_MMAP_THRESHOLD_": "65536", "TRAINER": "sd-scripts", "EXTENSIONS_TRACE": "1",
            "ARGS": " ".join([FLAGS, *made, *more]),
        }  # fmt: skip
        self.output = output / f"model_out_{RUN}"
        self.hooks: list[tuple[float, str]] = []
        self.samples: list[tuple[float, int]] = []
        self.process = subprocess.Popen(
            [LAUNCHERS / f"{RUN}.sh"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        threading.Thread(target=self.sample, daemon=True).start()
        said: list[str] = []
        for line in self.process.stdout:
            said = [*said[-40:], line]
            if line.startswith("[hook] "):
                self.hooks.append((time.monotonic(), line))
        assert self.process.wait() == 0, "".join(said)

    def sample(self) -> None:
        """Note what the largest process has of its own, until it ends."""
        while self.process.poll() is None:
            self.samples.append((time.monotonic(), largest(self.process.pid)))
            time.sleep(0.2)

    def peak(self) -> int:
        """The most, in bytes, that training takes beyond what the program has before it loads a model."""
        begun = self.hooks[0][0]
        updates = [at for at, line in self.hooks if line.startswith("[hook] optimizer_step_ended(")]
        before = max(size for at, size in self.samples if at <= begun)
        return max(size for at, size in self.samples if updates[0] <= at <= updates[-1]) - before


def largest(pid: int) -> int:
    """Anonymous memory, in bytes, of the largest process below one: a mapped file is the page cache's."""
    sizes = [0]
    try:
        for process in psutil.Process(pid).children(recursive=True):
            with open(f"/proc/{process.pid}/status") as file:
                sizes += [int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon")]
    except (psutil.Error, OSError):
        pass
    return max(sizes)


def files_of(run: Watched) -> dict:
    """What the state after the second step is made of: sizes and checksums."""
    state = states.read(states.folder_of(run.output) / states.name_of(2))
    return state.facts.files


def test_two_steps_are_one_and_one_in_the_memory_that_is_planned(made, tmp_path):
    whole = Watched(made, tmp_path / "whole", "--stop_at_step=2")
    wanted = files_of(whole)
    shutil.rmtree(whole.output)
    Watched(made, tmp_path / "parts", "--stop_at_step=1")
    parts = Watched(made, tmp_path / "parts", "--stop_at_step=2", RESUME="auto")
    assert files_of(parts) == wanted and wanted["U-Net.safetensors"]["bytes"] > 5e9
    planned = sum(vram.parts(vram.setup(Flags.of_text(f"{FLAGS} --resolution={SIDE} --sdpa"), 1)).values())
    print(f"peak {whole.peak() / 2**30:.2f} GB, planned {planned / 2**30:.2f}")
    assert abs(whole.peak() / planned - 1) < 0.1
