"""Holds what a stage is given: device, size, folder, clock, and where its figures go."""

import gc
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class LeftOutError(Exception):
    """A stage, or a part of it, that cannot be here; its message is the reason."""


@dataclass
class Setting:
    """What a stage works with.

    device: "cuda" or "cpu". tiny: the stand-in's sizes. work: a folder that all stages share; base.safetensors,
    data/, buckets/ and tokenizers/ are there after the stage "model". until: time.time() at which the stage's time is
    up. put: takes a figure's name and value at once, so that a stage that dies keeps what it had. check: takes a
    verdict's name and whether it holds.
    """

    device: str
    tiny: bool
    work: Path
    until: float
    put: Callable[[str, object], None]
    check: Callable[[str, bool], None]

    @property
    def cuda(self) -> bool:
        return self.device == "cuda"

    def left(self) -> float:
        """Seconds that the stage still has."""
        return self.until - time.time()

    def of_size(self, full, tiny):
        """Return one of two, by the size."""
        return tiny if self.tiny else full


def wait(setting: Setting) -> None:
    """Wait until the device has done what it was told."""
    if setting.cuda:
        import torch

        torch.cuda.synchronize()


def seconds(setting: Setting, function: Callable[[], object], rounds: int = 5) -> float:
    """Time a call: the median of some rounds after one that does not count."""
    took = []
    for _ in range(rounds + 1):
        wait(setting)
        began = time.perf_counter()
        function()
        wait(setting)
        took.append(time.perf_counter() - began)
    return statistics.median(took[1:])


def begin_peak(setting: Setting) -> int:
    """Forget the peak of memory so far; the bytes that are allocated now. 0 on a CPU."""
    if not setting.cuda:
        return 0
    import torch

    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def peak(setting: Setting) -> dict[str, int]:
    """Bytes allocated and reserved at most since `begin_peak`, and the allocator's retries; {} on a CPU."""
    from benchmarks.gpu.probe import memory

    return memory() if setting.cuda else {}


def free(setting: Setting) -> None:
    """Give memory that nothing holds back to the device."""
    gc.collect()
    if setting.cuda:
        import torch

        torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether the device had no room: a result, where what was asked for is large."""
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def out_of_memory(setting: Setting, function: Callable[[], dict]) -> dict:
    """Return the figures of a function, or that the device had no room for it, once its memory is free again."""
    try:
        return function()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
    free(setting)  # outside of the except: the traceback holds tensors
    return {"out_of_memory": True}
