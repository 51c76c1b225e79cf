"""Learned weights find the logarithm of each level's loss, are alike on all ranks, and go on exactly from a state."""

from types import SimpleNamespace

import pytest
import torch

from extensions.objectives.learned import FURTHEST, Learned
from extensions.resume import parts

ALONE = SimpleNamespace(reduce=lambda tensor, how: tensor)
CPU = torch.device("cpu")


def losses_at(log_sigma: torch.Tensor) -> torch.Tensor:
    """A loss that falls over the levels of noise by a factor of some forty."""
    return 0.7 * torch.sigmoid(-1.5 * log_sigma) + 0.015


def levels(generator: torch.Generator, count: int = 16) -> torch.Tensor:
    return torch.rand(count, generator=generator) * 6 - 3


def trained(steps: int, made: Learned, generator: torch.Generator) -> Learned:
    for _ in range(steps):
        at = levels(generator)
        made.weigh(losses_at(at), at).mean().backward()
        made.step(ALONE)
    return made


def test_at_first_a_loss_is_what_it_is():
    made, at = Learned(1, 0.01, CPU), torch.linspace(-3, 3, 7)
    assert torch.equal(made.weigh(losses_at(at), at), losses_at(at))
    assert made.weigh(torch.ones(2), torch.tensor([float("inf"), -float("inf")])).isfinite().all()
    far = torch.tensor([FURTHEST, 2 * FURTHEST])
    made.uncertainty.weight.data.fill_(0.3)
    assert made.uncertainty(far).diff().item() == pytest.approx(0, abs=1e-6)


def test_what_is_learned_is_the_logarithm_of_the_loss():
    """Its stationary point is exp(-u) L = 1 (arXiv 2312.02696, eq. 8): all levels then weigh alike."""
    made = trained(600, Learned(1, 0.02, CPU), torch.Generator().manual_seed(2))
    at = torch.linspace(-2.8, 2.8, 12)
    with torch.no_grad():
        found = made.uncertainty(at)
    assert (found - losses_at(at).log()).abs().max() < 0.35


def test_a_weight_is_a_constant_to_the_model():
    loss = torch.tensor([0.5, 2.0], requires_grad=True)
    made = Learned(1, 0.01, CPU)
    made.uncertainty.weight.data.fill_(0.2)
    at = torch.tensor([0.1, -1.0])
    made.weigh(loss, at).sum().backward()
    torch.testing.assert_close(loss.grad, (-made.uncertainty(at)).exp().detach())
    by_definition = (1 - loss.detach() * (-made.uncertainty(at).detach()).exp()).sum()  # d/du of L exp(-u) + u
    own = torch.autograd.grad(made.uncertainty(at).sum(), made.uncertainty.weight)[0]
    assert own.shape == made.uncertainty.weight.grad.shape and by_definition.isfinite()


def test_ranks_step_by_the_mean_of_their_gradients():
    """Two ranks with half a batch each end where one ends that sees all of it."""
    at = levels(torch.Generator().manual_seed(5))
    whole, halves = Learned(1, 0.01, CPU), [Learned(1, 0.01, CPU) for _ in range(2)]
    whole.weigh(losses_at(at), at).mean().backward()
    whole.step(ALONE)
    for made, part in zip(halves, at.chunk(2), strict=True):
        made.weigh(losses_at(part), part).mean().backward()
    mean = sum(made.uncertainty.weight.grad for made in halves) / 2
    for made in halves:
        made.step(SimpleNamespace(reduce=lambda tensor, how: mean.clone() if how == "mean" else None))
    assert torch.equal(halves[0].uncertainty.weight, halves[1].uncertainty.weight)
    torch.testing.assert_close(halves[0].uncertainty.weight, whole.uncertainty.weight)


def test_micro_steps_add_up_to_an_update():
    """The trainer divides each micro-step's loss by their number."""
    at = levels(torch.Generator().manual_seed(6))
    one, several = Learned(1, 0.01, CPU), Learned(1, 0.01, CPU)
    one.weigh(losses_at(at), at).mean().backward()
    for part in at.chunk(4):
        (several.weigh(losses_at(part), part).mean() / 4).backward()
    one.step(ALONE), several.step(ALONE)
    torch.testing.assert_close(several.uncertainty.weight, one.uncertainty.weight)


@pytest.mark.parametrize("before", [0, 1, 7])
def test_a_state_goes_on_to_the_last_bit(before, tmp_path):
    """By way of the file of a training state, and whatever seed the new one was made with."""
    unbroken = trained(before + 9, Learned(1, 0.01, CPU), torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    first = trained(before, Learned(1, 0.01, CPU), generator)
    (tmp_path / "state").mkdir()
    parts.Part("weights.safetensors", {"learned": first.state()}).write(tmp_path / "state")
    second = Learned(99, 0.01, CPU)
    second.take(parts.read(tmp_path / "state" / "weights.safetensors")["learned"])
    trained(9, second, generator)
    assert torch.equal(second.uncertainty.weight, unbroken.uncertainty.weight)
    at = levels(torch.Generator().manual_seed(4))
    assert torch.equal(second.uncertainty(at), unbroken.uncertainty(at))


def test_an_update_without_a_loss_is_a_step_all_the_same():
    """A rank that had none must answer the others."""
    made, asked = Learned(1, 0.01, CPU), []
    made.step(SimpleNamespace(reduce=lambda tensor, how: asked.append(how) or tensor))
    assert asked == ["mean"] and not made.uncertainty.weight.any()
