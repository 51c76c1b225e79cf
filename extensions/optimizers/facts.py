"""Tabulates each optimizer of the logbook, one row: its flag, its class, the bytes of its state.

Bytes follow from the shapes of the parameters, because the 8-bit ones leave small tensors in fp32 and the
factored ones keep rows and columns of the last two axes: little for a matrix, more than the weights for a
1x1 kernel. The formulas are held against the state of the real optimizers, tensor by tensor, by the tests, and
so is the table of docs/optimizers.md. To add an optimizer, add a row and its line there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from math import prod
from typing import TypeVar

from extensions.base.errors import UserError

T = TypeVar("T")
Shape = tuple[int, ...]
BLOCKWISE_FROM = 4096  # elements; bitsandbytes and torchao keep smaller tensors unquantised
SLICE = 16 * 2**20  # elements that bf16_updates.py steps at a time; SDXL's largest have 29 (U-Net) and 63 million
PIECE = 4 * 2**20  # elements of a slice that it rounds by one call


def slices(items: Iterable[T], elements: Callable[[T], int], most: int = SLICE) -> Iterator[list[T]]:
    """Yield what bf16_updates.py steps at a time, in order: at most `most` elements together, or one larger item."""
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
    """One optimizer.

    flag: `--optimizer_type`, and the --optimizer_args that belong to it. cls: dotted name. bytes_of(shape, b): its
    state of one parameter whose elements have b bytes. follows: floating-point state has the parameter's dtype
    (otherwise a dtype of its own, whatever the weights are). rate: suggested learning rate as a multiple of AdamW's;
    None where the optimizer chooses its own. found: what the recorded runs showed. step: for a moment a step needs so
    many bytes an element of the largest tensor whose elements have 2 or 4 bytes; step_all: copies of all tensors.
    shapes: what it does with the shape of each weight, which ZeRO takes away (`under_zero.py`); "" where state and
    step are one number's at a time, so that any cut of the weights is as good as another. aliases: {other flag of
    upstream's: its class} with the same facts.

    In none of them does one parameter act on another: they can be stepped a few at a time.
    """

    name: str
    flag: str
    cls: str
    library: str
    follows: bool
    bytes_of: Callable[[Shape, int], int]
    rate: float | None
    found: str
    step: Mapping[int, int] = field(default_factory=dict)
    step_all: int = 0
    shapes: str = ""
    aliases: Mapping[str, str] = field(default_factory=dict)

    def state_bytes(self, shapes: Iterable[Shape], element: int) -> int:
        """Return bytes of the state for parameters of these shapes, element: 2 for bf16 weights, 4 for fp32."""
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


def _adafactor(shape: Shape, _b: int) -> int:
    """Return bytes of a factored second moment in fp32."""
    return 4 * _factors(shape)


def _came(shape: Shape, b: int) -> int:
    """Return bytes of a first moment, a factored second one and a factored residual (which vectors do without)."""
    return (prod(shape) + (2 if len(shape) >= 2 else 1) * _factors(shape)) * b


ADAFACTOR = "transformers.optimization.Adafactor"
BNB = "bitsandbytes.optim"
FACTORS = "factors the second moment by rows and columns"
BY_SHAPE = "keeps its state by the shape of each weight"
MASKS = "scales each weight's update by its own mask"
# The update of the tensor before is still there.
ADAFACTOR_STEP = {2: 20, 4: 12}
LION_STEP = {2: 5, 4: 9}
OPTIMIZERS = (
    Facts(
        name="AdamW", flag="AdamW", cls="torch.optim.AdamW", library="torch", follows=True, bytes_of=_moments(2),
        rate=1.0, found="-", step_all=1,
        aliases={"PagedAdamW": f"{BNB}.PagedAdamW", "PagedAdamW32bit": f"{BNB}.PagedAdamW32bit"},
    ),
    Facts(
        name="AdamW8bit", flag="AdamW8bit", cls=f"{BNB}.AdamW8bit", library="bitsandbytes", follows=False,
        bytes_of=_blockwise(2), rate=1.0, found="most runs; 23.5 GB at 100% on one GPU, 24.0 GB at 71% on four",
        aliases={"PagedAdamW8bit": f"{BNB}.PagedAdamW8bit"},
    ),
    Facts(
        name="AdamW4bit", flag="extensions.optimizers.AdamW4bit", cls="extensions.optimizers.AdamW4bit",
        library="torchao", follows=True, bytes_of=_four_bits, rate=1.0,
        found="18.5 GB, then hung: torchao compiles each shape of tensor anew; here it steps without compiling",
        step={2: 58, 4: 54}, shapes=BY_SHAPE,
    ),
    Facts(
        name="Lion", flag="Lion", cls="lion_pytorch.lion_pytorch.Lion", library="lion-pytorch", follows=True,
        bytes_of=_moments(1), rate=0.1, found="trains", step=LION_STEP,
    ),
    Facts(
        name="Lion8bit", flag="Lion8bit", cls=f"{BNB}.Lion8bit", library="bitsandbytes", follows=False,
        bytes_of=_blockwise(1), rate=0.1, found="21.2 GB at 71%, out of memory at 100%",
        aliases={"PagedLion8bit": f"{BNB}.PagedLion8bit"},
    ),
    Facts(
        name="C-Lion", flag="extensions.optimizers.CautiousLion", cls="extensions.optimizers.CautiousLion",
        library="pytorch-optimizer", follows=True, bytes_of=_moments(1), rate=0.1,
        found="24.0 GB; the library's own rescaling threw token embeddings up to 1.19 away in 3 steps at 1e-4",
        step=LION_STEP, shapes=MASKS,
    ),
    Facts(
        name="AdaFactor, relative step", flag="AdaFactor", cls=ADAFACTOR, library="transformers", follows=False,
        bytes_of=_adafactor, rate=None,
        found="20.4 GB at 71%, 23.3 GB at 100%; chooses its own rate, --learning_rate only shapes the log",
        step=ADAFACTOR_STEP, shapes=FACTORS,
    ),
    Facts(
        name="AdaFactor, own schedule", flag="AdaFactor relative_step=False scale_parameter=False", cls=ADAFACTOR,
        library="transformers", follows=False, bytes_of=_adafactor, rate=0.3,
        found="as above; recorded without scale_parameter=False: the rate times the weights' RMS, about 0.02",
        step=ADAFACTOR_STEP, shapes=FACTORS,
    ),
    Facts(
        name="CAME", flag="pytorch_optimizer.CAME", cls="pytorch_optimizer.optimizer.came.CAME",
        library="pytorch-optimizer", follows=True, bytes_of=_came, rate=0.1,
        found="out of memory on 24 GB, which C-Lion just filled; 1e-4 is far too hot", step={2: 10, 4: 12},
        shapes=FACTORS,
    ),
)  # fmt: skip
# What launchers and training states of before may say.
OLD_NAMES = {
    "extensions.adamw4bit.AdamW4bit": "extensions.optimizers.AdamW4bit",
    "extensions.cautious_lion.CautiousLion": "extensions.optimizers.CautiousLion",
}


def present_name(optimizer_type: str) -> str:
    """Return `--optimizer_type` under the name that it has today."""
    return OLD_NAMES.get(optimizer_type, optimizer_type)


def short(name: str) -> str:
    """Return the class, in lower case, of a name with or without dots."""
    return name.rpartition(".")[2].lower()


def classes() -> dict[str, str]:
    """Return {name in lower case: dotted class} of each `--optimizer_type` that upstream knows without dots."""
    found = {facts.flag.split()[0]: facts.cls for facts in OPTIMIZERS if "." not in facts.flag.split()[0]}
    for facts in OPTIMIZERS:
        found |= facts.aliases
    return {name.lower(): cls for name, cls in found.items()}


def of_flag(optimizer_type: str, optimizer_args: list[str] | None = None) -> Facts:
    """Return the facts of `--optimizer_type`, which ignores case where it has no dots.

    UserError for an unknown one.
    """
    name = optimizer_type or "AdamW"
    if not is_known(name):
        known = ", ".join(dict.fromkeys(facts.flag.split()[0] for facts in OPTIMIZERS))
        raise UserError(f"--optimizer_type={name}: nothing is known of its state; give one of {known}")
    candidates = [facts for facts in OPTIMIZERS if _names(name, facts)]
    given = set(optimizer_args or [])
    return max(candidates, key=lambda facts: len(given & set(facts.flag.split()[1:])))


def is_known(name: str) -> bool:
    """Tell whether the table has this `--optimizer_type`. UserError for a dotted name of nothing."""
    return any(_names(name, facts) for facts in OPTIMIZERS)


def _names(name: str, facts: Facts) -> bool:
    flag = facts.flag.split()[0]
    if "." not in name:
        return name.lower() == flag.lower()
    return name in (flag, facts.cls) or _class(name) is _class(facts.cls)


def _class(dotted: str):
    """Return the class of a dotted name; UserError where there is none."""
    module, _, name = dotted.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError(f"--optimizer_type={dotted}: {error}") from None


def of_optimizer(optimizer) -> Facts | None:
    """Return the facts of a built optimizer, by its class; None for one that is not in the table."""
    for facts in OPTIMIZERS:
        if type(optimizer).__name__ == facts.cls.rpartition(".")[2] and type(optimizer) is _class(facts.cls):
            return facts
    return None
