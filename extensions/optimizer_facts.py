"""What is known of each optimizer of the logbook: its flag, its class, the bytes of its state.

Bytes follow from the shapes of the parameters, because the 8-bit ones leave small tensors in fp32 and the
factored ones keep rows and columns of the last two axes: little for a matrix, more than the weights for a
1x1 kernel. The formulas are held against the state of the real optimizers, tensor by tensor, by the tests;
docs/optimizers.md is `python -m extensions.optimizer_facts`.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from math import prod

from extensions.errors import UserError

Shape = tuple[int, ...]
BLOCKWISE_FROM = 4096  # elements; bitsandbytes and torchao keep smaller tensors unquantised


@dataclass(frozen=True)
class Facts:
    """One optimizer. bytes_of(shape, b): its state of one parameter whose elements have b bytes.

    cls: dotted name. follows: floating-point state has the parameter's dtype (otherwise a dtype of its own,
    whatever the weights are). rate: suggested learning rate as a multiple of AdamW's; None where the optimizer
    chooses its own. separable: parameters do not act on each other, so that they can be stepped one by one.
    """

    name: str
    flag: str
    cls: str
    library: str
    follows: bool
    bytes_of: Callable[[Shape, int], int]
    rate: float | None
    found: str
    separable: bool = True

    def state_bytes(self, shapes: Iterable[Shape], element: int) -> int:
        """Bytes of the state for parameters of these shapes, element: 2 for bf16 weights, 4 for fp32."""
        return sum(self.bytes_of(tuple(shape), element) for shape in shapes)


def _moments(count: int) -> Callable[[Shape, int], int]:
    """So many tensors of the parameter's own dtype."""
    return lambda shape, b: count * prod(shape) * b


def _blockwise(count: int) -> Callable[[Shape, int], int]:
    """bitsandbytes: a byte an element and an fp32 maximum a block of 256; fp32 below 4,096 elements."""

    def bytes_of(shape: Shape, _b: int) -> int:
        n = prod(shape)
        return count * (4 * n if n < BLOCKWISE_FROM else n + 4 * -(-n // 256))

    return bytes_of


def _four_bits(shape: Shape, b: int) -> int:
    """torchao: half a byte an element, an fp32 maximum a block of 128, a map of 16 values a tensor."""
    n = prod(shape)
    quantised = n >= BLOCKWISE_FROM and n % 128 == 0
    return 2 * (n // 2 + n // 128 * 4 + 64 if quantised else n * b)


def _factors(shape: Shape) -> int:
    """Elements of one factored second moment: sums over the last axis and over the one before it."""
    n = prod(shape)
    return n // shape[-1] + n // shape[-2] if len(shape) >= 2 else n


def _came(shape: Shape, b: int) -> int:
    """A first moment, a factored second one and a factored residual (which vectors do without)."""
    return (prod(shape) + (2 if len(shape) >= 2 else 1) * _factors(shape)) * b


ADAFACTOR = "transformers.optimization.Adafactor"
OPTIMIZERS = (
    Facts("AdamW", "AdamW", "torch.optim.AdamW", "torch", True, _moments(2), 1.0, "-"),
    Facts(
        "AdamW8bit", "AdamW8bit", "bitsandbytes.optim.AdamW8bit", "bitsandbytes", False, _blockwise(2), 1.0,
        "most runs; 23.5 GB at 100% on one GPU, 24.0 GB at 71% on four",
    ),
    Facts(
        "AdamW4bit", "extensions.adamw4bit.AdamW4bit", "extensions.adamw4bit.AdamW4bit", "torchao", True, _four_bits,
        1.0, "18.5 GB, then hung: torchao compiles each shape of tensor anew; here it steps without compiling",
    ),
    Facts("Lion", "Lion", "lion_pytorch.lion_pytorch.Lion", "lion-pytorch", True, _moments(1), 0.1, "trains"),
    Facts(
        "Lion8bit", "Lion8bit", "bitsandbytes.optim.Lion8bit", "bitsandbytes", False, _blockwise(1), 0.1,
        "21.2 GB at 71%, out of memory at 100%",
    ),
    Facts(
        "C-Lion", "extensions.cautious_lion.CautiousLion", "extensions.cautious_lion.CautiousLion",
        "pytorch-optimizer", True, _moments(1), 0.1,
        "24.0 GB; the library's own rescaling threw token embeddings up to 1.19 away in 3 steps at 1e-4",
    ),
    Facts(
        "AdaFactor, relative step", "AdaFactor", ADAFACTOR, "transformers", False, lambda s, _b: 4 * _factors(s),
        None, "20.4 GB at 71%, 23.3 GB at 100%; chooses its own rate, --learning_rate only shapes the log",
    ),
    Facts(
        "AdaFactor, own schedule", "AdaFactor relative_step=False", ADAFACTOR, "transformers", False,
        lambda s, _b: 4 * _factors(s), 1.0,
        "as above; scale_parameter (on by default) multiplies the rate by the RMS of the weights, about 0.02",
    ),
    Facts(
        "CAME", "pytorch_optimizer.CAME", "pytorch_optimizer.optimizer.came.CAME", "pytorch-optimizer", True, _came,
        0.1, "out of memory on 24 GB: the state of convolutions is larger than the weights; 1e-4 is far too hot",
    ),
)  # fmt: skip


def of_flag(optimizer_type: str, optimizer_args: list[str] | None = None) -> Facts:
    """The facts of `--optimizer_type`, which ignores case where it has no dots. UserError for an unknown one."""
    words = optimizer_type or "AdamW"
    if words.lower() == "adafactor" and "relative_step=False" in (optimizer_args or []):
        words += " relative_step=False"
    for facts in OPTIMIZERS:
        if words in (facts.flag, facts.cls) or words.lower() == facts.flag.lower():
            return facts
    names = ", ".join(dict.fromkeys(facts.flag.split()[0] for facts in OPTIMIZERS))
    raise UserError(f"--optimizer_type={optimizer_type} is none of those whose state is known: {names}")


def of_optimizer(optimizer) -> Facts | None:
    """The facts of a built optimizer, by its class; None for one that is not in the table."""
    for facts in OPTIMIZERS:
        module, _, name = facts.cls.rpartition(".")
        if type(optimizer).__name__ == name and type(optimizer) is getattr(import_module(module), name):
            return facts
    return None
