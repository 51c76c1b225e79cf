"""Work over processes: every result, few tasks at a time, and one line where a process dies."""

import os
import signal

import pytest

from extensions.base.errors import UserError
from extensions.data import parallel


def double(number):
    parallel.tick()
    return 2 * number, os.getpid()


def fail(number):
    parallel.tick()
    if number == 2:
        raise UserError("no 2 here; give another")


def die(number):
    os.kill(os.getpid(), signal.SIGKILL)


def who(_):
    return parallel.worker()


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_has_its_result(jobs):
    results = list(parallel.run(double, iter(range(50)), jobs, 50, "doubling"))
    assert sorted(number for number, _ in results) == list(range(0, 100, 2))
    assert (os.getpid() in {process for _, process in results}) == (jobs == 1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_tasks_are_made_when_they_are_needed(jobs):
    made = []

    def tasks():
        for number in range(1000):
            made.append(number)
            yield number

    results = parallel.run(double, tasks(), jobs, 1000, "doubling")
    next(results)
    results.close()
    assert len(made) <= 4 * jobs


@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_error_ends_it(jobs):
    with pytest.raises(UserError, match="no 2 here"):
        list(parallel.run(fail, range(10_000), jobs, 10_000, "failing"))


def test_a_process_that_is_killed():
    with pytest.raises(UserError, match="a worker process was killed"):
        list(parallel.run(die, range(4), 2, 4, "dying"))


def test_workers_have_numbers():
    assert set(parallel.run(who, range(200), 2, 200, "asking")) <= {0, 1}


def test_no_processes():
    with pytest.raises(UserError, match="JOBS=0: give 1 or more"):
        list(parallel.run(double, [1], 0, 1, "nothing"))
