"""Spawns a run's processes: python -m extensions.launch.spawn LAUNCHER WORDS…

LAUNCHER is torch.distributed.run or accelerate.commands.launch, run as by `python -m`. Both answer the end of a
process, and a signal, with a traceback of their own and exit code 1. Where the process that failed first has told
its user in one line what to mend, there is nothing to add, and the exit code is that of a single process.
"""

import importlib
import logging
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable

from extensions.base import shared_exit
from extensions.base.errors import EXPLAINED, UserError, no_room
from extensions.base.reporting import exit_with

LOOPBACK = ("127.0.0.1", "localhost")
# Names each process that it stops, and each that has failed.
TORCHRUN = "torch.distributed.elastic.multiprocessing.api"


def main(words: list[str]) -> int:
    """Run the launcher to its end; the exit code."""
    with room_for_ends() as folder:
        os.environ[shared_exit.FOLDER] = folder
        logging.getLogger(TORCHRUN).addFilter(lambda _: explained_exit() is None)
        return start(*words)


def room_for_ends() -> tempfile.TemporaryDirectory:
    """Make the folder in which processes say how they end. UserError where no temporary folder can be written."""
    try:
        return tempfile.TemporaryDirectory(prefix="ends-")
    except OSError as error:
        raise UserError(f"no temporary folder can be written ({error.strerror}); let TMPDIR= name another") from None


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
    from torch.distributed.elastic.rendezvous import static_tcp_rendezvous

    looked_up = static_tcp_rendezvous.__dict__  # its name, where torchrun looks it up
    looked_up["TCPStore"] = closed_to_others(looked_up["TCPStore"])
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


def closed_to_others(store: Callable) -> Callable:
    """Return PyTorch's store, which listens where its processes meet alone, where that is this machine's own address.

    By itself it listens on all of a machine's addresses, and takes what anybody sends: pickles among it.
    """

    def made(host, port, world_size, is_master, timeout, **more):
        if is_master and host in LOOPBACK:
            listening = socket.create_server(("127.0.0.1", port), backlog=1024)
            more["master_listen_fd"] = listening.detach()
        return store(host, port, world_size, is_master, timeout, **more)

    return made


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        sys.exit(exit_with(error))
    except OSError as error:  # torchrun has a temporary folder of its own
        if no_room(error) is None:
            raise
        sys.exit(exit_with(error))
