"""Steps Cautious Lion, leaving sparse gradients in peace (extensions.optimizers.CautiousLion).

A cautious optimizer drops the elements of an update that point against the gradient and scales the others up, so
that the update keeps its length (arXiv 2411.16085, algorithm 2: by elements / elements kept). In a token embedding
nearly all rows have no gradient: a prompt's 75 rows of 49,408 would be scaled by several hundred. Here only the
elements that have a gradient count. For a dense gradient the two are the same.
"""

import torch
from pytorch_optimizer import Lion


class CautiousLion(Lion):
    """pytorch_optimizer.Lion with cautious updates on; arguments and state are its own."""

    def __init__(self, params, lr: float = 1e-4, **keywords):
        super().__init__(params, lr=lr, **{"cautious": True} | keywords)

    @staticmethod
    def apply_cautious(update: torch.Tensor, grad: torch.Tensor) -> None:
        """Mask and rescale `update` in place, both of one shape. Elements without a gradient become 0."""
        kept = update * grad > 0
        update.mul_(kept).mul_(grad.count_nonzero() / (kept.count_nonzero() + 1))
