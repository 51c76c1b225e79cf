"""Averages that some ranks have put into a state, taken up by others: the same bits, or none of it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from extensions.averages.profiles import Exponential, Power
from extensions.averages.resumed import Resumed
from tests.helpers.averaging import models, ranks_of, walk, whole

ALL = [Power(0.05), Power(0.10), Exponential(0.99)]


def resumed(ranks, facts, tensors):
    """The ranks after they have read a state."""
    for tracks in ranks:
        reading = Resumed(tracks, facts)
        for name, tensor in tensors.items():
            if reading.wants(name):
                reading.take(name, tensor.clone())
        reading.finish()
    return ranks


def state_of(ranks):
    tensors = {name: tensor.clone() for tracks in ranks for name, tensor in tracks.tensors().items()}
    return ranks[0].facts() | {"begins": dict(ranks[0].begins)}, tensors


@settings(max_examples=25)
@given(
    some.integers(1, 4),
    some.integers(1, 4),
    some.sampled_from([torch.float32, torch.bfloat16]),
    some.integers(0, 2**32),
)
def test_ranks_of_another_number_go_on_as_those_that_wrote_it(before, after, dtype, seed):
    torch.manual_seed(seed)
    of = models(dtype, size=13)
    first = ranks_of(of, before, ALL)
    steps = walk(of, 12, seed)
    for _, step in zip(range(6), steps, strict=False):
        for tracks in first:
            tracks.update(step)
    second = resumed(ranks_of(of, after, ALL, begin=6), *state_of(first))
    assert second[0].facts() == first[0].facts()
    for step in steps:
        for tracks in (*first, *second):
            tracks.update(step)
    for each in ALL:
        found, wanted = whole(second, each.name), whole(first, each.name)
        assert all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_an_average_that_the_state_has_not_begins_with_the_weights_as_they_are():
    of = models(torch.bfloat16)
    first = ranks_of(of, 2, ALL[:2])
    for step in walk(of, 5):
        for tracks in first:
            tracks.update(step)
    second = resumed(ranks_of(of, 1, ALL, begin=5), *state_of(first))
    assert second[0].begins == {"0.05": 0, "0.10": 0, "decay0.99": 5} and second[0].began == 0
    now = whole(ranks_of(of, 1, ALL), "decay0.99")
    assert all(torch.equal(tensor, now[key]) for key, tensor in whole(second, "decay0.99").items())


def test_averages_of_other_weights_begin_anew():
    first, other = ranks_of(models(), 1, ALL), models(size=9)
    second = resumed(ranks_of(other, 1, ALL, begin=3), *state_of(first))
    assert second[0].begins == dict.fromkeys(second[0].begins, 3) and second[0].began == 3


@pytest.mark.parametrize("what", ["gone", "dtype"])
def test_a_state_that_has_not_all_is_refused(what):
    of = models()
    facts, tensors = state_of(ranks_of(of, 2, ALL))
    name = next(name for name in tensors if name.startswith("0.10@"))
    if what == "gone":
        tensors.pop(name)
    else:
        tensors[name] = tensors[name].half()
    with pytest.raises(
        ValueError, match="it has not all of 0.10" if what == "gone" else "float16, not torch.float32"
    ):
        resumed(ranks_of(of, 1, ALL), facts, tensors)
