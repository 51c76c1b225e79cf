"""Compiles the transformer blocks: the first micro-step, cold and warm, graphs over buckets and chunks, speed."""

import os
import time
from pathlib import Path

from benchmarks.gpu.setting import LeftOutError, Setting, wait

BUCKETS = {True: 1, False: 5}
CHUNKS = {True: (1, 2), False: (1, 2, 3, 4)}
AFTER = {True: 1, False: 5}  # micro-steps that are timed when all is compiled


def cold(setting: Setting) -> None:
    """With empty caches."""
    compiled(setting)


def warm(setting: Setting) -> None:
    """In another process, with the caches that the stage before has left."""
    if not setting.cuda:
        raise LeftOutError("aot_eager, the CPU's, keeps nothing that a second start could find")
    if not cache(setting).is_dir():
        raise LeftOutError("nothing was compiled before")
    compiled(setting)


def cache(setting: Setting) -> Path:
    """Where compiled code is kept."""
    return setting.work / "compiled"


def compiled(setting: Setting) -> None:
    """Compile as the plugin dynamo does, and meet bucket after bucket with texts of 1 to 4 chunks."""
    folder = cache(setting)
    os.environ |= {"TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
    import torch._dynamo

    from benchmarks.gpu.session import Session
    from extensions.plugins import dynamo

    held, backend = Session(setting, "buckets"), "inductor" if setting.cuda else "aot_eager"
    torch._dynamo.config.recompile_limit = dynamo.RECOMPILE_LIMIT
    for module in dynamo.compiled_modules(held.run.models, "blocks"):
        module.compile(backend=backend)
    setting.put("backend", backend)
    met = batches(held, setting)
    began = time.perf_counter()
    for number, (shape, batch) in enumerate(met.items()):
        one = time.perf_counter()
        held.loss(batch)
        wait(setting)
        if number == 0:
            setting.put("first_micro_step_seconds", time.perf_counter() - one)
            setting.put("graphs after the first", dynamo.graphs())
        setting.put("shapes_met", number + 1)
        setting.put("graphs", dynamo.graphs())
        setting.put("last new shape", {"shape": shape, "seconds": time.perf_counter() - one})
    setting.put("all_shapes_seconds", time.perf_counter() - began)
    setting.put("graph_breaks", sum(torch._dynamo.utils.counters["graph_break"].values()))
    setting.put("images_per_second", after(setting, held))
    setting.check("something was compiled", dynamo.graphs() > 0)


def batches(held, setting: Setting) -> dict[str, dict]:
    """Return {"width x height, chunks": batch} of each bucket with each number of chunks; texts are made longer."""
    from benchmarks.gpu.session import chunks

    singles = {tuple(b["latents"].shape): b for b in held.batches if chunks(b) == 1}
    found = {}
    for shape in list(singles)[: BUCKETS[setting.tiny]]:
        for count in CHUNKS[setting.tiny]:
            ids = [each.repeat(*[1] * (each.dim() - 2), count, 1) for each in singles[shape]["input_ids_list"]]
            found[f"{8 * shape[3]}x{8 * shape[2]}, {count}"] = singles[shape] | {"input_ids_list": ids}
    return found


def after(setting: Setting, held) -> float:
    """Images a second without the optimizer's share, of the first bucket, once everything is compiled."""
    batch = held.batch(1)
    held.loss(batch)
    wait(setting)
    began = time.perf_counter()
    for _ in range(AFTER[setting.tiny]):
        held.loss(batch)
    wait(setting)
    return AFTER[setting.tiny] / (time.perf_counter() - began)
