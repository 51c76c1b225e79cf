"""What is known of each optimizer of the logbook: its flag, its class, the bytes of its state.

Bytes follow from the shapes of the parameters, because the 8-bit ones leave small tensors in fp32 and the
factored ones keep rows and columns of the last two axes: little for a matrix, more than the weights for a
1x1 kernel. The formulas are held against the state of the real optimizers, tensor by tensor, by the tests;
docs/optimizers.md is `python -m extensions.optimizers.facts`.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib import import_module
from math import prod
from typing import TypeVar

from extensions.base.errors import UserError

T = TypeVar("T")
Shape = tuple[int, ...]
BLOCKWISE_FROM = 4096  # elements; bitsandbytes and torchao keep smaller tensors unquantised
SLICE = 16 * 2**20  # elements that bf16_updates.py steps at a time; SDXL's largest have 29 (U-Net) and 63 million


def slices(items: Iterable[T], elements: Callable[[T], int], most: int = SLICE) -> Iterator[list[T]]:
    """What bf16_updates.py steps at a time, in order: at most `most` elements together, or one larger item."""
    some, count = [], 0
    for item in items:
        if some and count + elements(item) > most:
            yield some
            some, count = [], 0
        some.append(item)
        count += elements(item)
    if some:
        yield some


@dataclass(frozen=True)
class Facts:
    """One optimizer. bytes_of(shape, b): its state of one parameter whose elements have b bytes.

    cls: dotted name. follows: floating-point state has the parameter's dtype (otherwise a dtype of its own,
    whatever the weights are). rate: suggested learning rate as a multiple of AdamW's; None where the optimizer
    chooses its own. In none of them does one parameter act on another: they can be stepped a few at a time.
    """

    name: str
    flag: str
    cls: str
    library: str
    follows: bool
    bytes_of: Callable[[Shape, int], int]
    rate: float | None
    found: str

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
        "AdamW4bit", "extensions.optimizers.AdamW4bit", "extensions.optimizers.AdamW4bit", "torchao", True,
        _four_bits, 1.0, "18.5 GB, then hung: torchao compiles each shape anew; here it steps without compiling",
    ),
    Facts("Lion", "Lion", "lion_pytorch.lion_pytorch.Lion", "lion-pytorch", True, _moments(1), 0.1, "trains"),
    Facts(
        "Lion8bit", "Lion8bit", "bitsandbytes.optim.Lion8bit", "bitsandbytes", False, _blockwise(1), 0.1,
        "21.2 GB at 71%, out of memory at 100%",
    ),
    Facts(
        "C-Lion", "extensions.optimizers.CautiousLion", "extensions.optimizers.CautiousLion",
        "pytorch-optimizer", True, _moments(1), 0.1,
        "24.0 GB; the library's own rescaling threw token embeddings up to 1.19 away in 3 steps at 1e-4",
    ),
    Facts(
        "AdaFactor, relative step", "AdaFactor", ADAFACTOR, "transformers", False, lambda s, _b: 4 * _factors(s),
        None, "20.4 GB at 71%, 23.3 GB at 100%; chooses its own rate, --learning_rate only shapes the log",
    ),
    Facts(
        "AdaFactor, own schedule", "AdaFactor relative_step=False scale_parameter=False", ADAFACTOR, "transformers",
        False, lambda s, _b: 4 * _factors(s), 0.3,
        "as above; recorded without scale_parameter=False: the rate times the weights' RMS, about 0.02",
    ),
    Facts(
        "CAME", "pytorch_optimizer.CAME", "pytorch_optimizer.optimizer.came.CAME", "pytorch-optimizer", True, _came,
        0.1, "out of memory on 24 GB, which C-Lion just filled; 1e-4 is far too hot",
    ),
)  # fmt: skip


def of_flag(optimizer_type: str, optimizer_args: list[str] | None = None) -> Facts:
    """The facts of `--optimizer_type`, which ignores case where it has no dots. UserError for an unknown one."""
    name = optimizer_type or "AdamW"
    if not is_known(name):
        known = ", ".join(dict.fromkeys(facts.flag.split()[0] for facts in OPTIMIZERS))
        raise UserError(f"--optimizer_type={name}: nothing is known of its state; give one of {known}")
    candidates = [facts for facts in OPTIMIZERS if _names(name, facts)]
    given = set(optimizer_args or [])
    return max(candidates, key=lambda facts: len(given & set(facts.flag.split()[1:])))


def is_known(name: str) -> bool:
    """Whether the table has this `--optimizer_type`. UserError for a dotted name of nothing."""
    return any(_names(name, facts) for facts in OPTIMIZERS)


def asked_for(args) -> str:
    """The `--optimizer_type` of the parsed flags; upstream has two older flags for it."""
    if getattr(args, "use_8bit_adam", False):
        return "AdamW8bit"
    return "Lion" if getattr(args, "use_lion_optimizer", False) else args.optimizer_type or "AdamW"


def _names(name: str, facts: Facts) -> bool:
    flag = facts.flag.split()[0]
    if "." not in name:
        return name.lower() == flag.lower()
    return name in (flag, facts.cls) or _class(name) is _class(facts.cls)


def _class(dotted: str):
    """The class of a dotted name; UserError where there is none."""
    module, _, name = dotted.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"--optimizer_type={dotted}: {error}") from None


def of_optimizer(optimizer) -> Facts | None:
    """The facts of a built optimizer, by its class; None for one that is not in the table."""
    for facts in OPTIMIZERS:
        if type(optimizer).__name__ == facts.cls.rpartition(".")[2] and type(optimizer) is _class(facts.cls):
            return facts
    return None
