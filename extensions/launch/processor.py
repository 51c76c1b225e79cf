"""Identifies the processor, as far as code that was compiled for it goes.

Inductor and DeepSpeed compile for the processor at hand (`-march=native`, vectors as wide as it has) and look
their code up again by source and flags alone. Started on another processor from the same folder (a virtual
machine that was moved, a home directory that two machines share, a new board) the code ends in NaN, a corrupt
heap or an illegal instruction; so each kind of processor has a folder of its own.
"""

import hashlib
import os
import platform
from pathlib import Path

CPUINFO = Path("/proc/cpuinfo")
# What tells kinds apart, on x86 and on ARM; clock, load and the number of a core are not among it.
FIELDS = ("vendor_id", "model name", "flags", "CPU implementer", "CPU part", "Features")


def facts() -> dict[str, str]:
    """Read the first processor's fields of /proc/cpuinfo that tell kinds apart; empty without such a file."""
    try:
        first = CPUINFO.read_text(encoding="utf-8").strip().split("\n\n")[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in first.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs if name.strip() in FIELDS}


def kind() -> str:
    """Return a folder name that is the same on processors for which the same code is compiled, and on no other."""
    known = facts() or {"processor": platform.processor()}
    # PyTorch's own way to ask for less than the processor has; inductor follows it.
    known["capability"] = os.environ.get("ATEN_CPU_CAPABILITY", "")
    return f"{platform.machine()}-{hashlib.sha256(repr(sorted(known.items())).encode()).hexdigest()[:8]}"


def has_bf16() -> bool:
    """Tell whether it multiplies bf16 in hardware; without it PyTorch's bf16 products are ten times slower."""
    known = facts()
    return not known or bool({"avx512_bf16", "amx_bf16"} & set(known.get("flags", "").split()))
