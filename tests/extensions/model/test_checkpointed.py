"""Whatever is recomputed, weights and gradients are the same to the bit, and what is not kept is not saved."""

import copy

import pytest
import torch

from extensions.model import checkpointed, recomputation
from extensions.model.pieces import LATENT, Pass
from tests.helpers import both_models

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
SIDE = both_models.SIDE * LATENT
ONE = Pass(SIDE, SIDE, tokens=77, number=4)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["sdxl", "sd2"])
def family(request):
    return request.param


@pytest.fixture(scope="module", params=TRAINERS)
def loaded(request, family, standins):
    """A trainer's models; not to be changed."""
    if request.param == "sd-scripts":
        request.getfixturevalue("patched")
    return both_models.models_of(request.param, family, str(standins[family]))


def units_of(models) -> list[recomputation.Unit]:
    return recomputation.units_of(checkpointed.shapes_of(models), checkpointed.trained_of(models), ONE)


def choice_of(models, share: float) -> tuple[dict, recomputation.Choice]:
    """The wrapped pieces, of which a share of the bytes is kept, and the choice."""
    units = units_of(models)
    budget = share * sum(unit.bytes for unit in units)
    choice = recomputation.choose(units, budget, 1.0)
    wrapped = checkpointed.wrap(models, units)
    checkpointed.recompute(wrapped, choice.recomputed)
    return wrapped, choice


def weights_after(models, dtype, updates: int = 2) -> dict[str, torch.Tensor]:
    """Train a little; the weights, and the gradients of the last update."""
    for model in models.named().values():
        model.to(dtype)
    parameters = [p for model in models.named().values() for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    for update in range(updates):
        optimizer.zero_grad(set_to_none=True)
        for micro_step in range(1 + update):
            with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
                out = both_models.predicted(models, models.text_encoders, models.unet, 10 * update + micro_step)
            out.float().square().mean().backward()
        optimizer.step()
    found = {}
    for name, model in models.named().items():
        for key, parameter in model.named_parameters():
            found[f"{name} {key}"] = parameter.detach()
            if parameter.grad is not None:
                found[f"gradient of {name} {key}"] = parameter.grad
    return found


def freeze(models) -> None:
    """A part of the U-Net, as unet_percent does."""
    for name, parameter in models.unet_parameters().items():
        parameter.requires_grad_(not name.startswith(("input_blocks.5.", "middle_block.")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_no_bit_of_weights_and_gradients_depends_on_the_choice(loaded, dtype):
    """Nothing wrapped; all kept, none, and a half; the U-Net frozen in part."""
    freeze(loaded)
    wanted = weights_after(copy.deepcopy(loaded), dtype)
    assert sum(name.startswith("gradient of text encoder") for name in wanted) > 10
    counts = set()
    for share in (1, 0, 0.5):
        models = copy.deepcopy(loaded)
        _, choice = choice_of(models, share)
        counts.add(len(choice.kept))
        found = weights_after(models, dtype)
        assert found.keys() == wanted.keys()
        assert [name for name, tensor in wanted.items() if not torch.equal(tensor, found[name])] == []
    assert len(counts) == 3


def saved(models) -> int:
    """Bytes that one forward pass keeps, without the weights."""
    seen = {p.untyped_storage()._cdata: 0 for model in models.named().values() for p in model.parameters()}
    alive = []

    def pack(tensor):
        storage = tensor.untyped_storage()
        seen.setdefault(storage._cdata, storage.nbytes())
        alive.append(storage)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        both_models.predicted(models, models.text_encoders, models.unet, 1)
    return sum(seen.values())


def test_a_larger_budget_saves_more(loaded):
    """The hooks see only what lies between the pieces that are recomputed, and all of those that are kept."""
    models = copy.deepcopy(loaded)
    whole = saved(models)
    wrapped, _ = choice_of(models, 0)
    counts = [saved(models)]
    for share in (0.2, 0.5, 1):
        units = list(wrapped)
        choice = recomputation.choose(units, share * sum(unit.bytes for unit in units), 1.0)
        checkpointed.recompute(wrapped, choice.recomputed)
        counts.append(saved(models))
    assert counts == sorted(set(counts)) and counts[0] < whole / 2 and counts[-1] == whole


def test_every_piece_has_a_module_of_its_own(loaded):
    wrapped, _ = choice_of(copy.deepcopy(loaded), 0)
    assert {unit.kind for unit in wrapped} == set(recomputation.KINDS)
    assert len({id(module.forward.__self__) for module in wrapped.values()}) == len(wrapped)


def test_nothing_is_recomputed_where_no_gradient_is_asked_for():
    module = checkpointed.Checkpointed(lambda x, scale=1: x * scale)
    module.on = True
    with torch.no_grad():
        assert module(torch.ones(1), scale=2) == 2
