"""Settles the attention that a launch computes with: one of three flags of upstream's, before anything is built.

All three are the same function. The launchers name theirs, so ARGS must be able to name another; and xformers is
an extra package, compiled for one version of PyTorch, which may be missing or installed and of no use.
"""

import importlib.util
import subprocess
import sys

from extensions.flags.words import Flags

# In upstream's order: it takes the first that is given and is silent about the others.
NAMES = ("mem_eff_attn", "xformers", "sdpa")
SECONDS = 120  # for the trial; a cold disk takes half a minute to give torch
# In a process of its own: code compiled for another PyTorch may take its process with it, and what it needs is
# freed again. Where its kernels do not load, xformers imports all the same and fails at the first call.
TRIAL = """
import xformers.ops, torch
if torch.cuda.is_available():
    q = torch.randn(1, 16, 8, 64, device="cuda", dtype=torch.float16, requires_grad=True)
    xformers.ops.memory_efficient_attention(q, q, q).sum().backward()
"""


def give_way(flags: Flags, extra: Flags) -> tuple[Flags, list[str]]:
    """Drop the launcher's attention from the flags where `extra`, from ARGS, names another; and a note for each."""
    asked = [name for name in NAMES if name in extra]
    gone = [name for name in NAMES if asked and name in flags and name not in asked]
    return flags.without(*gone), [f"ARGS: --{asked[0]} replaces --{name}" for name in gone]


def settle(flags: Flags, cpu: bool) -> tuple[Flags, list[str]]:
    """Put PyTorch's own attention, which is the same function, for an xformers of no use; the flags and a note.

    Costs some seconds where xformers is asked for on a GPU, and nothing elsewhere.
    """
    if "xformers" not in flags:
        return flags, []
    fault = "xformers computes on GPUs only" if cpu else fault_of_xformers()
    if not fault:
        return flags, []
    return flags.without("xformers").with_("sdpa"), [f"{fault}: --xformers becomes --sdpa"]


def fault_of_xformers() -> str:
    """Why xformers cannot be used, in one line; "" where it loads and, on a GPU, computes."""
    if importlib.util.find_spec("xformers") is None:
        return "xformers is not installed"
    try:
        done = subprocess.run(
            [sys.executable, "-c", TRIAL], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"xformers is installed and does not load within {SECONDS} s"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    return f"xformers is installed and does not work ({said[-1]})"
