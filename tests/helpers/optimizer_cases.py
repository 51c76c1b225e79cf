"""Every optimizer of the table on a small model with an embedding, a convolution, matrices and vectors."""

import torch
from packaging.version import Version
from torch.nn import functional

from extensions.flags.literals import literals
from extensions.optimizers import state as optimizer_state
from extensions.optimizers.facts import OPTIMIZERS, Facts
from extensions.reference import optimizers

SECONDARY = {"weight_decay": 1e-2, "betas": (0.9, 0.999, 0.9999)}
# torch's own AdamW leaves a third one out; 2.11's fails at its first step (versions between the two were not tried).
ADAMW_TAKES_THREE = Version(torch.__version__) >= Version("2.14")


class Small(torch.nn.Module):
    """Tensors on both sides of the 4,096 elements from which the quantising optimizers quantise."""

    def __init__(self):
        super().__init__()
        self.embedding = torch.nn.Embedding(96, 64)
        self.linear = torch.nn.Linear(64, 128)
        self.norm = torch.nn.LayerNorm(128)
        self.conv = torch.nn.Conv2d(8, 64, 3, padding=1)
        self.last = torch.nn.Conv2d(64, 64, 1)

    def forward(self, ids):
        """ids: int64 (b, n). Returns (b, n, 64, 4, 4) flattened over b and n."""
        hidden = self.norm(functional.silu(self.linear(self.embedding(ids))))
        return self.last(functional.silu(self.conv(hidden.view(-1, 8, 4, 4))))


def model(dtype=torch.float32) -> Small:
    torch.manual_seed(0)
    return Small().to(dtype)


def built(facts: Facts, parameters, rate: float, **more):
    """The optimizer as both trainers' flags make it."""
    flag, *words = facts.flag.split()
    cls = optimizers.class_of(flag)
    keywords = literals("optimizer_args", words) | more
    if facts.rate is None:
        keywords, rate = keywords | {"relative_step": True}, None
    made = cls(list(parameters), lr=rate, **keywords)
    optimizer_state.keep_dtypes(made)
    return made


def train(net, optimizer, steps: range, mixed=False) -> None:
    """So many optimizer steps, each on data of its own."""
    for step in steps:
        source = torch.Generator().manual_seed(step)
        ids = torch.randint(0, 48, (2, 6), generator=source)  # half of the embedding's rows never has a gradient
        target = torch.randn(12, 64, 4, 4, generator=source)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = functional.mse_loss(net(ids).float(), target)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)


def weights(net) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in net.parameters()]


__all__ = ["OPTIMIZERS", "SECONDARY", "built", "model", "train", "weights"]
