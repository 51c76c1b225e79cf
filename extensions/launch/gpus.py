"""Names the GPUs of this machine, asking in a child: a launcher that waits for weeks holds neither torch nor CUDA."""

import json
import subprocess
import sys
from functools import cache

from extensions.base.errors import UserError

SECONDS = 300  # a cold disk takes half a minute to give torch
NAMES = """
import json, torch
print(json.dumps([torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]))
"""


@cache
def names() -> tuple[str, ...]:
    """Return names of the GPUs that PyTorch sees, in its order. UserError where PyTorch cannot be started."""
    try:
        done = subprocess.run(
            [sys.executable, "-c", NAMES], capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"PyTorch does not say within {SECONDS} s which GPUs there are; look at nvidia-smi") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UserError(f"PyTorch cannot be started ({said}); delete .venv and give the command again")
    return tuple(json.loads(done.stdout.splitlines()[-1]))
