"""The choice: within its budget, best first, the same each time; its FLOPs against PyTorch's counter at full size."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from extensions.model import checkpointed, full_size, recomputation
from extensions.model.models import Models
from extensions.model.pieces import Pass
from extensions.model.recomputation import ALL, AUTO, GB, NONE, UNET, Unit
from extensions.model.unet_names import ldm_of_diffusers
from tests.helpers.published_unets import SD2_UNET, SDXL_UNET

FAMILIES = {"sdxl": (SDXL_UNET, 1024, 2048), "sd2": (SD2_UNET, 768, 1024)}
UNITS = st.lists(
    st.builds(Unit, st.just("m"), st.uuids().map(str), st.just("block"), st.integers(1, 99), st.integers(0, 99)),
    min_size=1,
    max_size=30,
)


def everything(family: str) -> dict[str, set[str]]:
    return {model: set(shapes) for model, shapes in full_size.shapes(family).items()}


@given(UNITS, st.integers(0, 2000))
def test_a_budget_is_never_exceeded_and_nothing_that_fits_is_left(units, budget):
    choice = recomputation.choose(units, budget, 1000.0)
    assert choice.bytes <= budget
    assert sorted(choice.kept + choice.recomputed, key=units.index) == units
    assert all(unit.bytes > budget - choice.bytes for unit in choice.recomputed)
    assert recomputation.choose(iter(units), budget, 1000.0) == choice


@given(UNITS, st.integers(0, 2000))
def test_what_is_left_saves_no_more_a_byte_than_what_was_taken_before_it(units, budget):
    """So at a budget that the best pieces fill, no other choice of their bytes saves more FLOPs."""
    ordered = sorted(units, key=lambda unit: -unit.flops / unit.bytes)
    filled, taken = 0, []
    for unit in ordered:
        if filled + unit.bytes > budget:
            break
        filled += unit.bytes
        taken.append(unit)
    assert set(taken) <= set(recomputation.choose(units, budget, 1000.0).kept)


def test_budgets():
    budget = recomputation.budget_of
    assert (budget(ALL), budget(NONE), budget(4.5), budget(0.0)) == (0, float("inf"), 4.5 * GB, 0)
    assert (budget(AUTO, 7.0), budget(AUTO, -7.0)) == (7, 0)


def unet_on_meta(family: str) -> tuple[Models, dict]:
    config, side, context = FAMILIES[family]
    with torch.device("meta"):
        unet = UNet2DConditionModel(**config).train()
        text = torch.empty(1, 77, context, requires_grad=True)
        sizes = {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}
        inputs = {"sample": torch.empty(1, 4, side // 8, side // 8), "encoder_hidden_states": text}
    names = ldm_of_diffusers("model.diffusion_model." + name for name in full_size.shapes(family)[UNET])
    return Models(family, unet, unet_names=names), inputs | {"added_cond_kwargs": sizes}


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_flops_of_the_full_size_u_net(family):
    """Forward, and what each choice computes again, within a hundredth (embeddings are left out)."""
    models, inputs = unet_on_meta(family)
    side = FAMILIES[family][1]
    one, shapes = Pass(side, side, tokens=77), {UNET: full_size.shapes(family)[UNET]}
    assert checkpointed.shapes_of(models) == shapes
    units = recomputation.units_of(shapes, checkpointed.trained_of(models), one)
    forward = recomputation.forward_flops(shapes, one)
    wrapped = checkpointed.wrap(models, units)

    def counted(backward: bool = True) -> int:
        with FlopCounterMode(display=False) as counter:
            out = models.unet(timestep=torch.empty(1, dtype=torch.int64, device="meta"), **inputs).sample
            if backward:
                out.sum().backward()
        return counter.get_total_flops()

    assert forward == pytest.approx(counted(backward=False), rel=0.01)
    whole = counted()
    for budget in (0, 2 * GB):
        choice = recomputation.choose(units, budget, forward)
        checkpointed.recompute(wrapped, choice.recomputed)
        assert choice.flops == pytest.approx(counted() - whole, rel=1e-6)
    if family == "sdxl":  # speed.md's count: 6.76 forward; all again by the non-reentrant way, 5.24
        assert forward / 1e12 == pytest.approx(6.76, abs=0.005)
        assert recomputation.choose(units, 0, forward).flops / 1e12 == pytest.approx(5.24, abs=0.01)


def test_nothing_is_kept_of_a_text_encoder_that_does_not_train():
    one, shapes, names = Pass(1024, 1024), full_size.shapes("sdxl"), everything("sdxl")
    found = recomputation.units_of(shapes, names, one)
    assert sum(unit.model == "text encoder 2" for unit in found) == 32
    less = recomputation.units_of(shapes, {UNET: names[UNET]}, one)
    assert less == [unit for unit in found if unit.model == UNET]


def test_a_frozen_block_keeps_less_and_so_comes_first():
    one, shapes, names = Pass(1024, 1024), full_size.shapes("sdxl"), everything("sdxl")
    block = "input_blocks.8.1.transformer_blocks.4"
    names[UNET] = {name for name in names[UNET] if not name.startswith(f"{block}.")}
    units = [u for u in recomputation.units_of(shapes, names, one) if u.kind == "block" and ".8.1." in u.name]
    assert len(units) == 10
    choice = recomputation.choose(units, units[4].bytes, 1.0)
    assert [unit.name for unit in choice.kept] == [block]


def test_the_largest_bucket_decides_and_bytes_go_with_its_area():
    shapes, names = full_size.shapes("sdxl"), everything("sdxl")
    sizes = [
        sum(unit.bytes for unit in recomputation.units_of(shapes, {UNET: names[UNET]}, Pass(side, 1024, tokens=0)))
        for side in (512, 1024)
    ]
    assert sizes[1] == pytest.approx(2 * sizes[0])


def test_a_choice_in_words():
    units = [Unit(UNET, "a", "residual", GB, 1e12), Unit(UNET, "b", "block", GB, 5e11)]
    choice = recomputation.choose(units, 1.5 * GB, 4e12)
    assert choice.text() == (
        "kept: 1 of 1 residual blocks, 0 of 1 transformer blocks: 1.00 GB; "
        "computed again: 0.5 of 4 TFLOP of a forward pass (12%)"
    )
    assert choice.record()["kept_gb"] == 1 and choice.record()["recomputed_share"] == 0.125
