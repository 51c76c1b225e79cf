"""Reads NNODES, NODE_RANK, MASTER_ADDR, MASTER_PORT: one run on several machines, each with its own launcher.

Every machine starts the same run with the same GPUS; machine 0 is the one that the others can reach at
MASTER_ADDR. Process 0, on machine 0, writes checkpoints, metrics and TensorBoard; the others keep a record
and a log of their own, so that it does not matter whether the machines share a disk.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass

from extensions.base.errors import UserError
from extensions.flags.values import count

PORT = 29500  # torchrun's and accelerate's default
LAST_PORT = 65535
MOST = 4096
DEPENDENT = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Machines:
    """count machines, of which this one is `rank`; address and port: where machine 0 listens."""

    count: int = 1
    rank: int = 0
    address: str = ""
    port: int = PORT

    def variables(self) -> list[str]:
        """NAME=VALUE words that say the same again; none for one machine."""
        if self.count == 1:
            return []
        where = [f"MASTER_ADDR={self.address}", f"MASTER_PORT={self.port}"]
        return [f"NNODES={self.count}", f"NODE_RANK={self.rank}", *where]


def read(environment: Mapping[str, str]) -> Machines:
    """From the caller's environment. UserError for a contradiction."""
    machines = count("NNODES", environment.get("NNODES") or "1", least=1, most=MOST)
    given = [name for name in DEPENDENT if environment.get(name)]
    if given and not environment.get("NNODES"):
        raise UserError(f"{given[0]} is set without NNODES; give NNODES=<machines>, or unset {given[0]}")
    if machines == 1:
        rank = count("NODE_RANK", environment.get("NODE_RANK") or "0", least=0)
        return require_rank(Machines(1, rank))
    for name, hint in (("NODE_RANK", "0 on the first machine, then 1, 2, …"), ("MASTER_ADDR", "machine 0's address")):
        if not environment.get(name):
            raise UserError(f"NNODES={machines} without {name}; give {name}: {hint}")
    rank = count("NODE_RANK", environment["NODE_RANK"], least=0)
    port = count("MASTER_PORT", environment.get("MASTER_PORT") or str(PORT), least=1)
    if port > LAST_PORT:
        raise UserError(f"MASTER_PORT={port} is no port; give one from 1 to {LAST_PORT}, the same on all machines")
    return require_rank(Machines(machines, rank, environment["MASTER_ADDR"], port))


def require_rank(machines: Machines) -> Machines:
    """Raise UserError for a rank that none of the machines has."""
    if machines.rank >= machines.count:
        raise UserError(
            f"NODE_RANK={machines.rank} is out of range: NNODES={machines.count} machines count from 0 to "
            f"{machines.count - 1}"
        )
    return machines


def check(machines: Machines) -> None:
    """Raise UserError where the machines could not meet: no such address; on machine 0, a port that is taken."""
    if machines.count == 1:
        return
    try:
        socket.getaddrinfo(machines.address, machines.port)
    except OSError as error:
        raise UserError(f"MASTER_ADDR={machines.address} cannot be resolved ({error.strerror})") from None
    if machines.rank == 0:
        require_free(machines.port)


def require_free(port: int) -> None:
    """Raise UserError where something listens on the port already; the launchers would end in a traceback."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a run that just ended does not count
        try:
            probe.bind(("", port))
        except OSError as error:
            raise UserError(
                f"MASTER_PORT={port} cannot be used here ({error.strerror}); give another one on all machines"
            ) from None
