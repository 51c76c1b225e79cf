"""Averages of weights that move, against float64, against what a bf16 average does, and in shares of any number."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from extensions.averages import pieces, profiles
from extensions.averages.profiles import Exponential, Power
from extensions.averages.tracks import Tracks
from tests.helpers.averaging import flat, models, ranks_of, walk, whole

ALL = [Power(0.05), Power(0.10), Exponential(0.9999)]


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    """The largest difference, as a share of the largest number."""
    return float((found.double() - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("dtype", [torch.bfloat16, pytest.param(torch.float32, marks=pytest.mark.slow)])
def test_ten_thousand_small_steps_are_averaged_as_in_float64(dtype):
    """A bf16 average, as others keep it, stands still beside it: a step of it is below its rounding."""
    torch.manual_seed(0)
    of = models(dtype)
    tracks = ranks_of(of, 1, ALL)[0]
    start = flat(of)
    replayed = {each.name: start.clone() for each in ALL}
    narrow = start.to(
        torch.bfloat16
    )  # theirs: ema <- ema - (1 - decay) (ema - weights), in the dtype of bf16 weights
    for step in walk(of, 10_000, rate=2e-3 if dtype == torch.bfloat16 else 2e-6):
        tracks.update(step)
        now = flat(of)
        for each in ALL:
            keep = each.keep(step - 1, step)
            replayed[each.name] = keep * replayed[each.name] + (1 - keep) * now
        narrow.sub_((narrow - now.to(torch.bfloat16)) * (1 - 0.9999))
    for each in ALL:
        found = torch.cat([value for _, value in tracks.values(each.name)])
        assert relative(found, replayed[each.name]) < 1e-6
        moved = (replayed[each.name] - start).norm()
        assert (found.double() - replayed[each.name]).norm() < 1e-4 * moved  # of the way, not of the weights
    wanted = replayed["decay0.9999"]
    assert relative(narrow, wanted) > 1e-3
    if dtype == torch.bfloat16:
        assert (narrow.double() - start).norm() < 0.7 * (wanted - start).norm()


@settings(max_examples=25)
@given(
    some.integers(1, 5),
    some.sampled_from([torch.float32, torch.bfloat16]),
    some.integers(1, 4),
    some.integers(0, 2**32),
)
def test_any_number_of_ranks_comes_to_the_same_bits(count, dtype, every, seed):
    torch.manual_seed(seed)
    of = models(dtype, size=19)
    one, several = ranks_of(of, 1, ALL), ranks_of(of, count, ALL)
    for step in walk(of, 12, seed):
        for tracks in (*one, *several) if step % every == 0 else ():
            tracks.update(step)
    for each in ALL:
        found, wanted = whole(several, each.name), whole(one, each.name)
        assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)


def test_a_share_is_as_many_bytes_as_there_are_ranks():
    def of_rank(tracks):
        return sum(each.nbytes for tensors in (*tracks.kept().values(), tracks.staged) for each in tensors)

    of = models(torch.bfloat16, size=64)
    sizes = {count: [of_rank(tracks) for tracks in ranks_of(of, count, ALL[:2])] for count in (1, 2, 4)}
    assert sizes[1] == [sum(sizes[2])] == [sum(sizes[4])]
    assert sizes[2] == [sizes[1][0] // 2] * 2 and sizes[4] == [sizes[1][0] // 4] * 4
    assert sizes[1][0] == 12 * sum(each.numel() for _, _, each in pieces.trained(of))


def test_an_average_of_every_third_step_is_the_recursion_over_those():
    of = models()
    tracks = ranks_of(of, 1, ALL[:1], begin=100)[0]
    seen = []
    for step in walk(of, 10):
        if (100 + step) % 3 == 0:
            tracks.update(100 + step)
            seen.append(flat(of))
    weights = np.diff(profiles.shares(0.05, 8, profiles.updates(100, 110, 3)), prepend=0)
    assert profiles.updates(100, 110, 3).tolist() == [2, 5, 8] and len(seen) == 3
    wanted = sum(float(weight) * each for weight, each in zip(weights, seen, strict=True))
    assert relative(torch.cat([value for _, value in tracks.values("0.05")]), wanted) < 1e-6


def test_the_weights_of_a_step_are_averaged_though_they_change_at_once():
    of = models()
    tracks = ranks_of(of, 1, ALL[:1])[0]
    before = flat(of)
    tracks.update(1)
    for parameter in of.unet.parameters():
        parameter.data.zero_()
    assert np.allclose(torch.cat([value for _, value in tracks.values("0.05")]).double(), before, atol=1e-7)


def test_what_goes_wrong_beside_the_training_is_told_at_the_next_moment(monkeypatch):
    tracks = ranks_of(models(), 1, ALL[:1])[0]
    monkeypatch.setattr(tracks, "_add", lambda keep: 1 / 0)
    tracks.update(1)
    with pytest.raises(ZeroDivisionError):
        tracks.settle()
    tracks.settle()


def test_before_the_first_update_an_average_is_the_weights():
    of = models(torch.bfloat16)
    divided = pieces.divided(pieces.trained(of), 1)
    tracks = Tracks(divided, 0, ALL, 7)
    assert torch.equal(torch.cat([value for _, value in tracks.values("0.10")]).double(), flat(of))
