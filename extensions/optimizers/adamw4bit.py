"""Steps torchao's AdamW with 4-bit moments without torch.compile (extensions.optimizers.AdamW4bit).

torchao compiles its step once for each shape, dtype and decay of a parameter. SDXL has about a hundred shapes, so
that the first step of a run sits for a long while in compilers, on every process at once: the likely reason of the
hang that was recorded. Eager mode computes the same and starts at once. It takes more temporary memory, 53 (fp32)
to 57 bytes (bf16) an element of the largest parameter (1.6 GB for the U-Net's largest, 3.4 GB when SDXL's second
token embedding trains; `make plan` counts it), at a moment when no activations are held. Moments: arXiv 2309.01507.
"""

import torch

from extensions.base.errors import UserError

try:
    from torchao.optim import AdamW4bit as Compiled
except ImportError as error:
    raise UserError(f"AdamW4bit needs torchao ({error}): .venv/bin/pip install torchao") from None


class AdamW4bit(Compiled):
    """torchao.optim.AdamW4bit whatever the device, in eager mode. Arguments and state are torchao's."""

    @torch.no_grad()
    def step(self, closure=None):
        """One update; returns the closure's loss."""
        with torch.enable_grad():
            loss = closure() if closure is not None else None
        with torch.compiler.set_stance("force_eager"):
            super().step()
        return loss
