"""Times what a run reads and writes beside its steps: training states, and samples from a pack."""

import time
from pathlib import Path

import psutil
import torch

from benchmarks.gpu import session
from benchmarks.gpu.setting import Setting, seconds, wait
from benchmarks.latents import make_set

STATE_BYTES = {True: 2**22, False: 12_000_000_000}
SHARE_OF_MEMORY = 0.2  # of what the machine has free; the copy, and the file where it lies in memory, take as much
TENSORS = 200
PACKED = {True: (16, 128), False: (256, 1024)}  # images, their side in pixels
WORKERS = {True: (0,), False: (0, 2, 4)}


def states(setting: Setting) -> None:
    """Save and restore a state: how long the training would wait, GB/s."""
    from accelerate import Accelerator

    from extensions.resume import parts
    from extensions.resume.description import Description
    from extensions.resume.writer import Writer

    size = min(STATE_BYTES[setting.tiny], int(SHARE_OF_MEMORY * psutil.virtual_memory().available))
    if setting.cuda:
        # It is read back beside itself.
        size = min(size, int(0.4 * torch.cuda.mem_get_info()[0]))
    value = {
        str(number): torch.ones(size // 2 // TENSORS, dtype=torch.bfloat16, device=setting.device)
        for number in range(TENSORS)
    }
    folder = setting.work / "written"
    writer = Writer(folder, 1, Accelerator(cpu=not setting.cuda))
    began = time.perf_counter()
    writer.save(Description(1), [("all.safetensors", lambda: value)], [0])
    held = time.perf_counter() - began
    writer.join_all()
    whole = time.perf_counter() - began
    setting.put("state_bytes", size)
    setting.put("training_waits_seconds", held)
    setting.put("saved_seconds", whole)
    setting.put("saved_gb_s", size / whole / 1e9)
    path = next(folder.glob("*/all.safetensors"))
    device = torch.device(setting.device, 0) if setting.cuda else torch.device("cpu")
    began = time.perf_counter()
    read = parts.read(path, device)
    wait(setting)
    setting.put("restored_gb_s", size / (time.perf_counter() - began) / 1e9)
    setting.check("what is restored is what was saved", all(torch.equal(value[key], read[key]) for key in value))
    setting.put("copied through a pinned buffer", pinned(setting, value))


def pinned(setting: Setting, value: dict[str, torch.Tensor]) -> dict | str:
    """GB/s from the card to the machine's memory through one pinned buffer: what a copy of a state could come to."""
    if not setting.cuda:
        return "skipped: a CPU's memory is the machine's"
    one = next(iter(value.values()))
    buffer, out = torch.empty_like(one, device="cpu").pin_memory(), torch.zeros_like(one, device="cpu")
    count = min(20, len(value))

    def copy() -> None:
        for tensor in list(value.values())[:count]:
            buffer.copy_(tensor)
            out.copy_(buffer)

    return {"gb_s": count * one.nbytes / seconds(setting, copy, 2) / 1e9}


def loader(setting: Setting) -> None:
    """Images a second of one process's loader from a pack, texts cut into tokens among it, up to the device."""
    from extensions.data.pack import make

    images, side = PACKED[setting.tiny]
    folder = setting.work / "packed"
    folder.mkdir()
    index = make_set(folder, images, side)
    make.make(index, make.Wish(folder / "npz", folder / "latents"), jobs=setting.of_size(4, 1))
    for workers in WORKERS[setting.tiny]:
        setting.put(f"{workers} workers", {"images_per_second": rate(setting, folder, workers)})


def rate(setting: Setting, folder: Path, workers: int) -> float:
    """Images a second through the run's own data set, workers started before the clock."""
    from torch.utils.data import DataLoader

    from extensions.data.loader import only
    from extensions.reference import data
    from extensions.reference.text import Text

    args = session.arguments(setting, folder.name)
    from extensions import manager

    manager.set_args(args)
    made = data.dataset(args)
    made.tokenize_strategy = Text("sdxl", args.tokenizer_cache_dir, args.clip_skip, args.max_token_length)
    batches = iter(DataLoader(made, batch_size=1, collate_fn=only, num_workers=workers))
    next(batches)
    began, count = time.perf_counter(), 0
    for batch in batches:
        batch["latents"].to(setting.device)
        count += 1
    wait(setting)
    return count / (time.perf_counter() - began)
