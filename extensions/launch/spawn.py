"""Spawns a run's processes: python -m extensions.launch.spawn LAUNCHER WORDS…

LAUNCHER is torch.distributed.run or accelerate.commands.launch, run as by `python -m`. Both answer the end of a
process, and a signal, with a traceback of their own and exit code 1. Where the process that failed first has told
its user in one line what to mend, there is nothing to add, and the exit code is that of a single process.
"""

import importlib
import logging
import os
import subprocess
import sys
import tempfile

from extensions.base import shared_exit
from extensions.base.errors import EXPLAINED

# Names each process that it stops, and each that has failed.
TORCHRUN = "torch.distributed.elastic.multiprocessing.api"


def main(words: list[str]) -> int:
    """Run the launcher to its end; the exit code."""
    with tempfile.TemporaryDirectory(prefix="ends-") as folder:
        os.environ[shared_exit.FOLDER] = folder
        logging.getLogger(TORCHRUN).addFilter(lambda _: explained_exit() is None)
        return start(*words)


def explained_exit() -> int | None:
    """Return the exit code of the first process that failed, where it has told its user what to mend; else None."""
    code = shared_exit.first_exit()
    return code if code in EXPLAINED else None


def start(launcher: str, *words: str) -> int:
    """Return the launcher's main.

    A traceback of torchrun or accelerate stays where it says more than is told already.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    sys.argv = [launcher, *words]
    try:
        importlib.import_module(launcher).main()
    except (ChildFailedError, subprocess.CalledProcessError):
        code = explained_exit()
        if code is None:
            raise
        return code
    except SignalException as stopped:
        return 128 + stopped.sigval  # as shells say it
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
