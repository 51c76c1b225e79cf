"""Reduces over one process and over all cards: bandwidth, how often DDP keeps a gradient, a divided optimizer."""

import copy
import json
import os
import time
from pathlib import Path

import torch

from benchmarks.gpu.setting import Setting
from extensions.base.processes import settle
from extensions.launch.command import loopback
from extensions.optimizers import gradients, sharding

SIZES = {True: (2**16, 2**20), False: (25 * 2**20, 250 * 2**20, 5_275_378_312)}  # bytes; the last: a run's gradients
MODEL = {True: (4, 64), False: (8, 4096)}  # layers and their width
ACCUMULATION = 4
ROUNDS = 5
# DDP's own flag, and what a run of several processes does.
WAYS = {
    "plain": {"view": False, "once": False},
    "bucket view": {"view": True, "once": False},
    "gradients once": {"view": True, "once": True},
}


def collectives(setting: Setting) -> None:
    """With one process, and with a process a card where there are several (two on a CPU)."""
    cards = torch.cuda.device_count() if setting.cuda else 2
    for count in (1, cards) if cards > 1 else (1,):
        found = together(setting, count)
        for name, value in found["figures"].items():
            setting.put(f"{count} processes: {name}", value)
        setting.check(f"{count} processes: sums are right", found["right"])
        setting.check(f"{count} processes: weights are equal in all ways", found["equal"])
        setting.check(f"{count} processes: a divided optimizer steps as a whole one", found["divided_equal"])
    if cards == 1:
        setting.put("several cards", "skipped: there is one")


def together(setting: Setting, count: int) -> dict:
    """Start so many processes; what the first one found."""
    out, meeting = setting.work / f"collectives-{count}.json", setting.work / f"meeting-{count}"
    os.environ |= loopback(os.environ)
    words = (count, setting.device, setting.tiny, str(meeting), str(out))
    torch.multiprocessing.start_processes(process, words, count, start_method="spawn")
    return json.loads(out.read_text(encoding="utf-8"))


def process(rank: int, count: int, device: str, tiny: bool, meeting: str, out: str) -> None:
    """One of the processes."""
    import torch.distributed as dist

    if device == "cuda":
        torch.cuda.set_device(rank)
    dist.init_process_group(
        "nccl" if device == "cuda" else "gloo", init_method=f"file://{meeting}", rank=rank, world_size=count
    )
    figures, right = {}, True
    for size in SIZES[tiny]:
        if device == "cuda" and size > 0.8 * torch.cuda.mem_get_info()[0]:
            figures[f"all-reduce of {size:,} bytes"] = "skipped: it does not fit the card"
            continue
        found, correct = reduced(dist, device, size, count)
        figures[f"all-reduce of {size:,} bytes"], right = found, right and correct
    weights = {}
    for name, way in WAYS.items():
        figures[f"DDP, accumulation {ACCUMULATION}, {name}"], weights[name] = accumulated(device, tiny, rank, way)
    equal = all(torch.equal(weights["plain"], other) for other in weights.values())
    figures["a divided optimizer"], divided_equal = divided(dist, device, tiny)
    if rank == 0:
        checks = {"right": right, "equal": equal, "divided_equal": divided_equal}
        Path(out).write_text(json.dumps({"figures": figures, **checks}), encoding="utf-8")
    dist.destroy_process_group()
    settle()


def reduced(dist, device: str, size: int, count: int) -> tuple[dict, bool]:
    """Seconds and GB/s of a sum over all processes, in bf16; whether it was right."""
    value = torch.ones(size // 2, dtype=torch.bfloat16, device=device)
    dist.all_reduce(value)
    right = bool((value[:1000] == count).all())
    ready(dist, device)
    began = time.perf_counter()
    for _ in range(ROUNDS):
        dist.all_reduce(value)
    ready(dist, device)
    took = (time.perf_counter() - began) / ROUNDS
    # Bus bandwidth, as nccl-tests has it: what each link carries of a ring.
    return {"seconds": took, "bus_gb_s": size / took * 2 * (count - 1) / count / 1e9}, right


def ready(dist, device: str) -> None:
    """Wait for the device and for the others."""
    if device == "cuda":
        torch.cuda.synchronize()
    dist.barrier()


def accumulated(device: str, tiny: bool, rank: int, way: dict) -> tuple[dict, torch.Tensor]:
    """Two updates with accumulation; bytes beyond the weights at the end of each micro-step, and the weights' sum."""
    layers, width = MODEL[tiny]
    before = torch.cuda.memory_allocated() if device == "cuda" else 0
    torch.manual_seed(0)
    model = torch.nn.Sequential(*(torch.nn.Linear(width, width, bias=False) for _ in range(layers)))
    model = model.to(device, torch.bfloat16)
    ids = [rank] if device == "cuda" else None
    ddp = torch.nn.parallel.DistributedDataParallel(model, device_ids=ids, gradient_as_bucket_view=way["view"])
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    if way["once"]:
        gradients.lay_out(ddp, (torch.zeros(1, width, device=device, dtype=torch.bfloat16),), {})
    weights = sum(p.nbytes for p in model.parameters())
    torch.manual_seed(1 + rank)
    beyond = []
    for _ in range(3):
        for micro_step in range(ACCUMULATION):
            batch = torch.randn(1, width, device=device, dtype=torch.bfloat16)
            ddp.require_backward_grad_sync = micro_step == ACCUMULATION - 1
            ddp(batch).float().square().mean().backward()
            if device == "cuda":
                beyond.append((torch.cuda.memory_allocated() - before) / weights - 1)
        optimizer.step()
        if way["once"]:
            gradients.zero_in_place(optimizer)
        else:
            optimizer.zero_grad(set_to_none=True)
    kept = torch.cat([p.detach().flatten() for p in model.parameters()]).cpu()
    if not beyond:
        return {"gradients_kept": "skipped: a CPU's allocator tells nothing"}, kept
    return {"most_copies_of_the_gradients": max(beyond[2 * ACCUMULATION :])}, kept


def divided(dist, device: str, tiny: bool) -> tuple[dict, bool]:
    """Seconds of a step of AdamW, whole and divided among the processes, and of sending the weights; equal or not."""
    layers, width = MODEL[tiny]
    torch.manual_seed(0)
    whole = torch.nn.ParameterList(torch.randn(width, width) for _ in range(layers)).to(device, torch.bfloat16)
    shared = copy.deepcopy(whole)
    optimizers = [torch.optim.AdamW(each.parameters(), lr=1e-2) for each in (whole, shared)]
    shards, inner = sharding.Shards(optimizers[1]), optimizers[1].step
    steps = {"whole": optimizers[0].step, "divided": lambda: shards.step(inner), "sending alone": shards.exchange}
    for one, other in zip(whole, shared, strict=True):
        one.grad = torch.randn_like(one)
        other.grad = one.grad.clone()
    found = {}
    for name, step in steps.items():
        took = []
        for _ in range(ROUNDS):
            ready(dist, device)
            began = time.perf_counter()
            step()
            ready(dist, device)
            took.append(time.perf_counter() - began)
        found[f"{name}, seconds"] = min(took)
    sent = sum(each.nbytes for each in shared) * (shards.ranks - 1) / shards.ranks
    found["GB/s into a card"] = sent / found["sending alone, seconds"] / 1e9
    return found, all(one.equal(other) for one, other in zip(whole, shared, strict=True))
