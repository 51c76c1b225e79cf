"""Pieces cover what trains once, are divided evenly, and find each other by name."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from extensions.averages import pieces
from extensions.averages.pieces import Place
from extensions.base.errors import UserError
from extensions.model.models import Models
from tests.helpers.averaging import models

SIZES = some.lists(some.integers(0, 40), min_size=1, max_size=8)


@given(SIZES, some.integers(1, 6), some.integers(1, 9))
def test_each_element_is_in_one_piece_and_ranks_have_as_many(sizes, ranks, largest):
    parameters = [(f"key {i}", 5 * i, torch.nn.Parameter(torch.zeros(size))) for i, size in enumerate(sizes)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "LARGEST", largest)
        found = pieces.divided(parameters, ranks)
    for piece in found:
        piece.view().add_(1)
    assert all(bool((parameter == 1).all()) for _, _, parameter in parameters)
    assert all(0 < piece.place.count <= largest for piece in found)
    assert [piece.owner for piece in found] == sorted(piece.owner for piece in found)
    counts = [sum(piece.place.count for piece in found if piece.owner == rank) for rank in range(ranks)]
    assert sum(counts) == sum(sizes) and max(counts) - min(counts) <= 1
    for piece in found:
        _, first, parameter = parameters[int(piece.place.key.split()[1])]
        assert piece.place.first == first + piece.offset and piece.parameter is parameter


@given(some.text("ab.|0", max_size=6).filter(lambda key: "|" not in key), some.integers(0, 99), some.integers(1, 99))
def test_a_name_says_the_place(key, first, count):
    assert Place.of_name(Place(key, first, count).name) == Place(key, first, count)


@given(some.integers(0, 20), some.integers(1, 20), some.integers(0, 20), some.integers(1, 20))
def test_common_elements_are_those_of_both(first, count, other, size):
    one, two = Place("a", first, count), Place("a", other, size)
    start, end = one.common(two)
    both = set(range(first, first + count)) & set(range(other, other + size))
    assert set(range(start, end)) == both
    if both:
        assert one.part(torch.arange(first, first + count), start, end).tolist() == sorted(both)
    assert one.common(Place("b", first, count)) == (0, 0)


def test_what_trains_is_named_as_in_the_checkpoint():
    found = pieces.trained(models())
    assert [key for key, _, _ in found] == ["model.diffusion_model.0.weight", "model.diffusion_model.1.weight"]


def test_weights_in_another_order_than_the_files_are_refused():
    unet = torch.nn.Conv2d(4, 4, 3).to(memory_format=torch.channels_last)
    with pytest.raises(UserError, match="model.diffusion_model.weight does not lie in memory as in a checkpoint"):
        pieces.trained(Models("sdxl", unet))
