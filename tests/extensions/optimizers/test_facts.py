"""The bytes of the table are those of the real optimizers' state, tensor by tensor."""

import re
from math import prod

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import optimizers as lengths
from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers import state as optimizer_state
from extensions.reference import optimizers
from tests.helpers.optimizer_cases import ADAMW_TAKES_THREE, OPTIMIZERS, SECONDARY, built

SHAPES = [
    (4095,),
    (4096,),
    (64, 64),
    (100, 41),
    (65, 127),
    (64, 32, 3, 3),
    (96, 64, 1, 1),
    (320,),
    (3, 5),
    (7, 3, 3, 3),
]
UNET = UNetSize(320, (1, 2, 4), (0, 2, 10), 10, 2048, 2816)
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
MATRIX, KERNEL, POINT = (1280, 1280), (640, 640, 3, 3), (640, 960, 1, 1)


def measured(facts, shape, dtype) -> int:
    """Bytes of the real state of one parameter, without counters and the 8-bit maps that all parameters share."""
    parameter = torch.nn.Parameter(torch.randn(shape).to(dtype))
    optimizer = built(facts, [parameter], 1e-4)
    parameter.grad = torch.randn(shape).to(dtype)
    optimizer.step()
    state = optimizer.state[parameter]
    optimizer.state[parameter] = {
        key: value
        for key, value in state.items()
        if key not in ("qmap1", "qmap2") and not (isinstance(value, torch.Tensor) and value.dim() == 0)
    }
    return optimizer_state.size(optimizer)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("facts", OPTIMIZERS, ids=lambda facts: facts.name)
def test_bytes_are_the_real_states(facts, dtype):
    for shape in SHAPES:
        assert measured(facts, shape, DTYPES[dtype]) == facts.state_bytes([shape], DTYPES[dtype].itemsize), shape


def test_shapes_of_the_unet_are_those_of_sdxl():
    assert sum(prod(shape) for shape in unet_shapes(UNET).values()) == 2_567_463_684


@pytest.mark.parametrize("facts", OPTIMIZERS, ids=lambda facts: facts.name)
def test_the_page_says_what_is_measured(facts):
    page = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
    line = re.search(rf"^\| {re.escape(facts.name)} \|.*\|$", page, re.MULTILINE).group()
    _, flag, library, *numbers, rate, found = line.strip("| ").split(" | ")
    assert flag == f"`{facts.flag}`" and library == facts.library and found == facts.found
    assert rate == ("its own" if facts.rate is None else f"{facts.rate:g}")
    sizes = list(unet_shapes(UNET).values())
    expected = [measured(facts, shape, torch.bfloat16) / prod(shape) for shape in (MATRIX, KERNEL, POINT)]
    expected += [facts.state_bytes(sizes, element) / 2_567_463_684 for element in (2, 4)]
    assert numbers == [f"{value:.2f}" for value in expected]


@pytest.fixture(scope="module")
def times_adamws():
    """{name: how many times as long as AdamW's an update is}, with the listed flag alone."""
    found = {facts.name: lengths.length(facts) for facts in OPTIMIZERS if facts.rate}
    return {name: value / found["AdamW"] for name, value in found.items()}


def test_at_its_suggested_rate_an_update_is_at_most_as_long_as_adamws(times_adamws):
    """AdaFactor's scale_parameter, which is on by default, would leave a fiftieth."""
    for facts in OPTIMIZERS:
        assert facts.rate is None or 0.25 < facts.rate * times_adamws[facts.name] < 1.05, facts.name


def test_the_page_says_how_long_updates_are(times_adamws):
    said = re.findall(r"(Lion|C-Lion|AdaFactor|CAME) (\d\.\d)", rates_of_the_page())
    assert len(said) == 4
    for name, times in said:
        measured = next(value for key, value in times_adamws.items() if key.startswith(name))
        assert measured == pytest.approx(float(times), rel=0.05), name


def rates_of_the_page() -> str:
    """The paragraph on rates."""
    page = (ROOT / "docs" / "optimizers.md").read_text(encoding="utf-8")
    return page.split("- **Rates.**")[1].split("- **")[0]


@pytest.mark.parametrize(
    ("flag", "words", "name"),
    [
        ("", None, "AdamW"),
        ("adamw", None, "AdamW"),
        ("torch.optim.AdamW", None, "AdamW"),
        ("bitsandbytes.optim.AdamW8bit", None, "AdamW8bit"),
        ("LION8BIT", ["weight_decay=1e-2"], "Lion8bit"),
        ("lion_pytorch.Lion", None, "Lion"),
        ("AdaFactor", ["relative_step=True"], "AdaFactor, relative step"),
        ("adafactor", ["weight_decay=0.01", "relative_step=False"], "AdaFactor, own schedule"),
        ("pytorch_optimizer.CAME", None, "CAME"),
        ("extensions.optimizers.AdamW4bit", None, "AdamW4bit"),
        ("extensions.optimizers.CautiousLion", None, "C-Lion"),
    ],
)
def test_facts_by_flag_and_by_class(flag, words, name):
    facts = optimizer_facts.of_flag(flag, words)
    assert facts.name == name
    optimizer = built(facts, [torch.nn.Parameter(torch.zeros(3, 3))], 1e-4)
    assert optimizer_facts.of_optimizer(optimizer).cls == facts.cls


@pytest.mark.parametrize("flag", ["SGD", "torch.optim.SGD", "no_such.Thing", "pytorch_optimizer.Lion"])
def test_what_is_not_known_is_one_line(flag):
    with pytest.raises(UserError, match=f"--optimizer_type={flag}") as caught:
        optimizer_facts.of_flag(flag)
    assert "\n" not in str(caught.value)
    assert optimizer_facts.of_optimizer(torch.optim.SGD([torch.zeros(1)], lr=1)) is None


@pytest.mark.parametrize("facts", OPTIMIZERS, ids=lambda facts: facts.name)
def test_secondary_parameters_where_the_library_takes_them(facts):
    """weight_decay everywhere; AdaFactor takes no betas, Lion two, the others three (CAME alone uses the third)."""
    three = facts.name not in ("Lion", "C-Lion") and (ADAMW_TAKES_THREE or facts.name != "AdamW")
    betas = {} if facts.name.startswith("AdaFactor") else {"betas": SECONDARY["betas"][: 3 if three else 2]}
    made = built(facts, [torch.nn.Parameter(torch.ones(64, 64))], 1e-3, weight_decay=1e-2, **betas)
    assert made.param_groups[0]["weight_decay"] == 1e-2
    if betas:
        assert tuple(made.param_groups[0]["betas"])[:2] == betas["betas"][:2]
    parameter = made.param_groups[0]["params"][0]
    parameter.grad = torch.full((64, 64), 1e-3)
    made.step()
    assert (parameter < 1).all()


def test_a_missing_package_is_one_line(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchao.optim", None)
    monkeypatch.delitem(__import__("sys").modules, "extensions.optimizers.adamw4bit", raising=False)
    with pytest.raises(UserError, match="AdamW4bit needs torchao"):
        optimizers.class_of("extensions.optimizers.AdamW4bit")


@given(sizes=st.lists(st.integers(1, 40), max_size=30), most=st.integers(1, 60))
def test_slices_keep_order_and_bound_and_are_as_few_as_that_allows(sizes, most):
    found = list(optimizer_facts.slices(sizes, int, most))
    assert [size for some in found for size in some] == sizes
    assert all(some and (sum(some) <= most or len(some) == 1) for some in found)
    assert all(sum(one) + other[0] > most for one, other in zip(found, found[1:], strict=False))


@pytest.mark.parametrize("old", optimizer_facts.OLD_NAMES)
def test_an_old_name_is_one_of_ours_under_its_present_name(old):
    present = optimizer_facts.present_name(old)
    assert optimizers.class_of(present).__name__ == old.rpartition(".")[2]
    assert optimizer_facts.of_flag(present).flag == present == optimizer_facts.present_name(present)


@pytest.mark.parametrize("name", ["", "AdamW", "torchao.optim.AdamW4bit", "extensions.adamw4bit"])
def test_other_names_stay(name):
    assert optimizer_facts.present_name(name) == name


def one_step(facts, pieces: int) -> torch.Tensor:
    """64 x 96 weights after a step: as they are, or as so many flat pieces, cut anywhere, as ZeRO has them."""
    source = torch.Generator().manual_seed(0)
    weight, gradient = (torch.randn(64, 96, generator=source) * scale for scale in (0.02, 1e-2))
    if pieces:
        cuts = [part.numel() for part in torch.empty(64 * 96).tensor_split([1001, 4500][: pieces - 1])]
        parameters = [torch.nn.Parameter(part.clone()) for part in weight.flatten().split(cuts)]
        gradients = gradient.flatten().split(cuts)
    else:
        parameters, gradients = [torch.nn.Parameter(weight.clone())], [gradient]
    made = built(facts, parameters, 1e-3)
    for parameter, part in zip(parameters, gradients, strict=True):
        parameter.grad = part.clone()
    made.step()
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


@pytest.mark.parametrize(
    "facts", [facts for facts in OPTIMIZERS if facts.name != "AdamW4bit"], ids=lambda facts: facts.name
)
def test_who_minds_how_the_weights_are_cut_is_who_does_something_with_their_shape(facts):
    """AdamW4bit, whose state has a shape of its own, starts from zeros that have none yet."""
    whole = one_step(facts, 0)
    same = [torch.allclose(whole, one_step(facts, pieces), rtol=1e-5, atol=1e-9) for pieces in (1, 2, 3)]
    assert same == [True] * 3 if not facts.shapes else not all(same)


def test_every_name_without_dots_is_a_class_s_and_so_are_its_aliases():
    for name, dotted in optimizer_facts.classes().items():
        assert optimizers.class_of(name) is optimizers.class_of(dotted)
        assert name == name.lower() and "." not in name
