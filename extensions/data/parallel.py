"""Spreads work on millions of samples over processes, with a progress bar.

Workers are started afresh (spawn): they share nothing with the parent but what a task carries, and a forked copy of
Arrow's threads and locks may hang. A few tasks at a time are handed out, so that a generator of them takes no memory.
"""

import ctypes
import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from extensions.base.errors import UserError
from extensions.base.progress import progress

REFRESH = 0.5  # seconds
PR_SET_PDEATHSIG = 1
_worker = 0


def _uncounted(_: int) -> None:
    """Outside of `run` nobody counts."""


_tick: Callable[[int], None] = _uncounted


def tick(samples: int = 1) -> None:
    """Called by the work for every sample done; ends it when the parent has stopped."""
    _tick(samples)


def run(work: Callable, tasks: Iterable, jobs: int, total: int, title: str) -> Iterator:
    """Yield the results of `work(task)`, as they come. total: samples that `tick` will count.

    With one job in this process, else on `jobs` of them; `work` and its tasks are pickled. The first exception of the
    work ends all of it. UserError where a process is killed.
    """
    if jobs < 1:
        raise UserError(f"JOBS={jobs}: give 1 or more processes")
    with progress(title, total, "images") as advance:
        yield from (here if jobs == 1 else spread)(work, tasks, jobs, lambda done: advance(done, done))


def here(work: Callable, tasks: Iterable, _: int, advance: Callable) -> Iterator:
    """One after the other in this process."""
    global _tick
    done, before = 0, _tick

    def count(samples: int) -> None:
        nonlocal done
        done += samples
        advance(done)

    _tick = count
    try:
        yield from map(work, tasks)
    finally:
        _tick = before


def spread(work: Callable, tasks: Iterable, jobs: int, advance: Callable) -> Iterator:
    """Over processes; two tasks a process are on their way."""
    context = multiprocessing.get_context("spawn")
    done, started, stop = context.Value("q", 0), context.Value("q", 0), context.Event()
    pool = ProcessPoolExecutor(jobs, context, start_worker, (done, started, stop))
    tasks = iter(tasks)
    try:
        waiting = {pool.submit(work, task) for task in islice(tasks, 2 * jobs)}
        while waiting:
            ready, waiting = wait(waiting, REFRESH, FIRST_COMPLETED)
            waiting |= {pool.submit(work, task) for task in islice(tasks, len(ready))}
            advance(done.value)
            for future in ready:
                yield future.result()
    except BrokenProcessPool:
        raise UserError("a worker process was killed (out of memory?); what is done stays, try fewer JOBS") from None
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)


def worker() -> int:
    """Return which of the processes this is, from 0: which GPU is its."""
    return _worker


def start_worker(done, started, stop) -> None:
    """Count into the parent's number; end with the parent, however it ends (Ctrl-C reaches it alone)."""
    global _tick, _worker
    with started.get_lock():
        _worker = started.value
        started.value += 1
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)

    def count(samples: int) -> None:
        if stop.is_set():
            raise UserError("stopped, because another process failed or the program was interrupted")
        with done.get_lock():
            done.value += samples

    _tick = count
