"""Gradients of several processes kept once: their bytes, their bits, and whether a run that goes on has them, too."""

from types import SimpleNamespace

import pytest
import torch

from extensions.optimizers import gradients
from tests.helpers.gradient_cases import Case, ran


def weights(found: list[dict]) -> dict[str, torch.Tensor]:
    """Those of a run whose processes agree."""
    first = found[0]["weights"]
    for other in found[1:]:
        assert all(other["weights"][name].equal(tensor) for name, tensor in first.items())
    return first


def differing(one: list[dict], other: list[dict]) -> list[str]:
    return [name for name, tensor in weights(one).items() if not weights(other)[name].equal(tensor)]


def copies(found: list[dict]) -> list[float]:
    """How often the gradients of process 0 are in memory at each micro-step, by the bytes of the process."""
    return [one["rss"] / one["gradients"] for one in found[0]["measured"]]


def one_less(kept: list[float], other: list[float]) -> bool:
    """Whether there is a copy less at every micro-step."""
    apart = sum(other) / len(other) - sum(kept) / len(kept)
    return max(kept) < min(other) and apart > 0.65


@pytest.mark.parametrize("accumulation", [pytest.param(1, marks=pytest.mark.slow), 4])
def test_two_processes_train_the_same_bits(accumulation, tmp_path):
    """And gradients lie in few buckets at every micro-step; DDP's own do so, with accumulation, in the last alone."""
    kept, plain = (ran(Case(each, accumulation=accumulation), tmp_path / str(each)) for each in (True, False))
    assert not differing(kept, plain)
    found = kept[0]["measured"]
    assert len(found) == 3 * accumulation
    assert all(one["storages"] == one["gradients"] and one["count"] < 24 for one in found)


@pytest.mark.slow
@pytest.mark.parametrize("accumulation", [1, 4])
def test_one_copy_is_in_memory_at_every_micro_step_of_three_updates(accumulation, tmp_path):
    """192 MiB of gradients. SGD, which keeps nothing; the weights were there before the measurement began."""
    large = {"accumulation": accumulation, "width": 2048, "layers": 12, "optimizer": "SGD"}
    kept = copies(ran(Case(True, **large), tmp_path / "kept"))
    plain = copies(ran(Case(False, **large), tmp_path / "plain"))
    # By resident memory: libraries, gloo and a layer's fresh gradient take some tens of MB, too, and what DDP has
    # for its buckets is resident once it has been written to, at the end of the first update.
    assert max(kept) < 1.75, kept
    written = accumulation - 1
    assert one_less(kept[written:], plain[written:]), (kept, plain)
    if accumulation > 1:  # what upstream's flag saves by itself: nothing, but in the last micro-step
        views = copies(ran(Case(False, views=True, **large), tmp_path / "views"))
        before_the_last = [n for n in range(accumulation, len(views)) if n % accumulation < accumulation - 1]
        assert one_less([kept[n] for n in before_the_last], [views[n] for n in before_the_last]), views


@pytest.mark.slow
def test_four_processes_go_on_exactly_which_ddp_alone_does_not(tmp_path):
    """DDP reduces a launch's first update in another layout of its buckets; four numbers are added in its order."""
    different = {}
    for kept in (True, False):
        common = {"processes": 4, "width": 512, "layers": 12, "kept": kept}
        whole = ran(Case(ends_at=4, **common), tmp_path / f"whole {kept}")
        ran(Case(ends_at=2, **common), tmp_path / f"two {kept}")
        gone_on = ran(Case(begins_at=2, ends_at=4, **common), tmp_path / f"two {kept}")
        different[kept] = differing(whole, gone_on)
    assert not different[True]
    assert different[False]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        lambda t: (t, None),
        lambda t: {"sample": [t]},
        lambda t: SimpleNamespace(sample=t, text="no tensor"),
    ],
)
def test_tensors_are_found_in_whatever_a_model_gives_back(wrap):
    tensor = torch.zeros(3)
    assert [found is tensor for found in gradients._tensors(wrap(tensor))] == [True]
