"""The frozen blocks of the logbook's variants, counted on the full-size U-Net, and of any other share."""

import json
from itertools import combinations
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.model.unet_blocks import HISTORICAL, block_sizes, choose_frozen, closest_set, nearest_bit

FACTS = json.loads((Path(__file__).parents[2] / "fixtures" / "unet_percent.json").read_text())


@pytest.fixture(scope="module")
def full_size(patched):
    """The full-size SDXL U-Net of upstream without memory."""
    from library import sdxl_original_unet

    with torch.device("meta"):
        return sdxl_original_unet.SdxlUNet2DConditionModel()


def sizes_of(unet):
    return {name: parameter.numel() for name, parameter in unet.named_parameters()}


@pytest.mark.upstream
@pytest.mark.parametrize("percent", ["63", "68", "71", "100"])
def test_variants_are_the_recorded_ones(full_size, percent):
    sizes, facts = sizes_of(full_size), FACTS["variants"][percent]
    frozen = choose_frozen(sizes, float(percent), "sdxl")
    assert sorted(frozen) == sorted(facts["frozen"])
    gone = sum(n for name, n in sizes.items() if name.startswith(tuple(f"{b}." for b in frozen)))
    assert sum(sizes.values()) == FACTS["unet_parameters"]
    assert sum(sizes.values()) - gone == facts["trainable"]


@pytest.mark.upstream
@settings(max_examples=40)
@given(percent=st.floats(5, 99.9))
def test_any_number_is_met_by_whole_blocks(full_size, percent):
    sizes = sizes_of(full_size)
    frozen = choose_frozen(sizes, percent + 1e-3, "sdxl")
    assert frozen == choose_frozen(sizes, percent + 1e-3, "sdxl")
    blocks = block_sizes(sizes)
    share = 100 * (1 - sum(blocks[name] for name in frozen) / sum(sizes.values()))
    # The embeddings and outer convolutions always train; their share is the least that can be had.
    least = 100 * (1 - sum(blocks.values()) / sum(sizes.values()))
    assert abs(share - max(percent, least)) < 0.3


def test_the_table_of_the_program_is_the_recorded_one():
    assert {f"{percent:g}" for percent in HISTORICAL} == FACTS["variants"].keys()
    for percent, variant in HISTORICAL.items():
        facts = FACTS["variants"][f"{percent:g}"]
        assert (variant.trainable, sorted(variant.frozen)) == (facts["trainable"], sorted(facts["frozen"]))


@given(
    sizes=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    fixed=st.integers(0, 50),
    percent=st.floats(0.1, 100, exclude_max=True),
)
def test_of_all_sets_the_closest_is_taken(sizes, fixed, percent):
    """Held against every set there is: no other freezes a share that is closer by more than the rounding."""
    total = max(1, sum(sizes) + fixed)
    blocks = {f"middle_block.{number}": size for number, size in enumerate(sizes)}
    wanted = total * (100 - percent) / 100
    sums = (sum(some) for count in range(len(sizes) + 1) for some in combinations(sizes, count))
    best = min(abs(each - wanted) for each in sums)
    found = abs(sum(blocks[name] for name in closest_set(blocks, total, percent)) - wanted)
    assert found <= best + total * (len(sizes) + 1) / 40_000


@given(st.integers(1, 2**40), st.integers(0, 50))
def test_the_nearest_bit(bits, position):
    places = [place for place in range(bits.bit_length()) if bits >> place & 1]
    assert nearest_bit(bits, position) == min(places, key=lambda place: (abs(place - position), place))


@pytest.mark.parametrize(
    ("sizes", "family", "says"),
    [
        ({"middle_block.0.weight": 4}, "sd2", "--unet_percent=71 names blocks of SDXL; for SD2 give another number"),
        ({"middle_block.0.weight": 4}, "sdxl", "has no block input_blocks.1.0; is the checkpoint SDXL"),
    ],
)
def test_the_logbooks_shares_are_sdxls(sizes, family, says):
    with pytest.raises(UserError, match=says):
        choose_frozen(sizes, 71.0, family)


def test_embeddings_and_outer_convolutions_are_no_candidates():
    names = ("time_embed.0.weight", "label_emb.0.0.weight", "input_blocks.0.0.weight", "out.2.weight")
    inner = ("input_blocks.1.0.weight", "output_blocks.0.1.weight", "middle_block.1.weight")
    assert list(block_sizes(dict.fromkeys((*names, *inner), 1))) == [name.removesuffix(".weight") for name in inner]
