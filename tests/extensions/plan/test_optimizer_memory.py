"""State as the libraries really allocate it, on small tensors of the kinds that the models have."""

import bitsandbytes
import pytest
import pytorch_optimizer
import torch
from lion_pytorch import Lion
from transformers.optimization import Adafactor

from extensions.plan import optimizer_memory

# A vector, a matrix on either side of 4,096 elements, a kernel.
SHAPES = [(640,), (60, 60), (320, 64), (32, 16, 3, 3)]
REAL = {
    "AdamW": torch.optim.AdamW,
    "AdamW8bit": bitsandbytes.optim.AdamW8bit,
    "Lion8bit": bitsandbytes.optim.Lion8bit,
    "Lion": Lion,
    "pytorch_optimizer.Lion": lambda params, lr: pytorch_optimizer.Lion(params, lr=lr, cautious=True),
    "AdaFactor": lambda params, lr: Adafactor(params, lr=lr, relative_step=False, scale_parameter=False),
    "pytorch_optimizer.CAME": pytorch_optimizer.CAME,
}


def allocated(name, dtype):
    parameters = [torch.nn.Parameter(torch.ones(shape, dtype=dtype)) for shape in SHAPES]
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 1e-3)
    made = REAL[name](parameters, lr=1e-3)
    made.step()
    found = {}
    for parameter in parameters:
        for key, value in made.state[parameter].items():
            if torch.is_tensor(value) and value.numel() > 1 and not key.startswith("qmap"):
                found[value.data_ptr()] = value.nbytes
    return sum(found.values())


@pytest.mark.parametrize("width", [2, 4], ids=["bf16", "fp32"])
@pytest.mark.parametrize("name", REAL)
def test_state_is_what_the_library_allocates(name, width):
    dtype = {2: torch.bfloat16, 4: torch.float32}[width]
    assert optimizer_memory.state_bytes(name, SHAPES, width) == allocated(name, dtype)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("AdamW8bit", 2.03), ("Lion8bit", 1.02), ("Lion", 2), ("AdamW", 4), ("torchao.optim.AdamW4bit", 1.06)],
)
def test_bytes_a_parameter_of_a_large_matrix_in_bf16(name, expected):
    assert optimizer_memory.state_bytes(name, [(1280, 5120)], 2) / (1280 * 5120) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(
    ("name", "same"),
    [
        ("adamw8BIT", "AdamW8bit"),
        ("bitsandbytes.optim.AdamW8bit", "AdamW8bit"),
        ("PagedAdamW8bit", "AdamW8bit"),
        ("PagedAdamW32bit", "AdamW"),
        ("torchao.optim.AdamW4bit", "extensions.optimizers.AdamW4bit"),
        ("", "AdamW"),
    ],
)
def test_spellings_of_one_optimizer(name, same):
    assert optimizer_memory.kind(name) is optimizer_memory.kind(same) is not None


def test_sgd_is_known_and_keeps_nothing():
    assert optimizer_memory.kind("SGD") is not None and optimizer_memory.state_bytes("SGD", SHAPES, 2) == 0


def test_an_unknown_optimizer_counts_as_adamw():
    assert optimizer_memory.kind("Prodigy") is None
    assert optimizer_memory.state_bytes("Prodigy", SHAPES, 2) == optimizer_memory.state_bytes("AdamW", SHAPES, 2)


def test_a_step_needs_the_largest_tensor_or_all():
    sizes = 640 + 3600 + 20480 + 4608
    assert optimizer_memory.step_bytes("AdaFactor", SHAPES, 2) == 20 * 20480
    assert optimizer_memory.step_bytes("extensions.optimizers.AdamW4bit", SHAPES, 2) == 58 * 20480
    assert optimizer_memory.step_bytes("AdamW", SHAPES, 2) == 2 * sizes
    assert optimizer_memory.step_bytes("AdamW8bit", SHAPES, 2) == 0
    assert optimizer_memory.step_bytes("AdamW", [], 2) == 0
