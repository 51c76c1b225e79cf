"""Binds a run's processes and their memory to one NUMA node, by numactl (NUMA=0).

Bound, not preferred: a process that outgrows the node's memory is killed instead of reading over the
link between the sockets, which is what these runs compared.
"""

import shutil
import subprocess
from pathlib import Path

from extensions.base.errors import UserError

NODES = Path("/sys/devices/system/node")


def words(node: int | None) -> list[str]:
    """Return what stands before the command that is to be bound."""
    return [] if node is None else ["numactl", f"--cpunodebind={node}", f"--membind={node}"]


def missing(node: int) -> str:
    """Why nothing can be bound to the node here; "" where it can."""
    if shutil.which("numactl") is None:
        return "numactl is not installed"
    present = sorted(int(path.name.removeprefix("node")) for path in NODES.glob("node[0-9]*"))
    if node not in present:
        return f"this machine has no NUMA node {node} (it has: {', '.join(map(str, present)) or 'none'})"
    # A container may forbid it, and a node may have memory without cores: numactl itself knows.
    done = subprocess.run([*words(node), "true"], capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return f"numactl cannot bind to node {node}: {said[-1]}"
    return ""


def require(node: int | None) -> None:
    """Raise UserError where a run that asks for a node cannot be bound to it."""
    reason = "" if node is None else missing(node)
    if reason:
        raise UserError(f"NUMA={node}: {reason}; mend that, or give NUMA=none to run unbound")
