"""Stages that do what a stage should not."""

import os
import signal
import time

from benchmarks.gpu.setting import LeftOutError


def sound(setting) -> None:
    setting.put("images_per_second", 2.0)
    setting.check("one and one are two", True)


def raises(setting) -> None:
    setting.put("before", 1)
    raise ValueError("what was wrong")


def wrong(setting) -> None:
    setting.check("one and one are three", False)


def dies(setting) -> None:
    setting.put("before", 2)
    os.kill(os.getpid(), signal.SIGKILL)


def hangs(setting) -> None:
    setting.put("before", 3)
    child = os.fork()
    if child:
        (setting.work.parent / "pids").write_text(f"{os.getpid()} {child}")
    time.sleep(600)


def is_left_out(setting) -> None:
    raise LeftOutError("there is none here")


def has_no_room(setting) -> None:
    import torch

    raise torch.OutOfMemoryError("CUDA out of memory")


def tells_its_process(setting) -> None:
    setting.put("pid", os.getpid())
