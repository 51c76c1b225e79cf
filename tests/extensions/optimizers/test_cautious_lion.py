"""Cautious Lion is pytorch-optimizer's for a dense gradient, and does not throw the rows of an embedding about."""

import torch
from pytorch_optimizer import Lion

from extensions.optimizers.cautious_lion import CautiousLion


def moved(cls, gradients, rate=1e-4, **keywords):
    """What a matrix of zeros becomes."""
    parameter = torch.nn.Parameter(torch.zeros_like(gradients[0]))
    optimizer = cls([parameter], lr=rate, **keywords)
    for gradient in gradients:
        parameter.grad = gradient.clone()
        optimizer.step()
    return parameter.detach()


def sparse(rows=2000, width=16, touched=10, steps=3):
    """Gradients of an embedding of which only the first rows were looked up, others at each step."""
    source = torch.Generator().manual_seed(0)
    gradients = torch.zeros(steps, rows, width)
    for step, gradient in enumerate(gradients):
        gradient[step * touched : (step + 2) * touched] = torch.randn(2 * touched, width, generator=source)
    return list(gradients)


def test_a_dense_gradient_is_the_librarys():
    source = torch.Generator().manual_seed(1)
    gradients = [torch.randn(32, 32, generator=source) for _ in range(5)]
    assert torch.equal(moved(CautiousLion, gradients), moved(Lion, gradients, cautious=True))
    assert not torch.equal(moved(CautiousLion, gradients), moved(Lion, gradients))


def test_rows_without_a_gradient_stay_and_the_others_move_by_the_rate():
    gradients, rate = sparse(), 1e-4
    ours, library = moved(CautiousLion, gradients, rate), moved(Lion, gradients, rate, cautious=True)
    never = torch.stack(gradients).abs().sum((0, 2)) == 0
    assert never.sum() == 2000 - 40 and torch.equal(ours[never], torch.zeros(int(never.sum()), 16))
    assert ours.abs().max() < 3 * 2 * rate, "three steps; the mask of a row in two halves doubles at most"
    assert library.abs().max() > 100 * rate, "why the class exists"


def test_the_update_keeps_its_mean_length():
    """Algorithm 2 rescales so that the mean size of the update is that of Lion."""
    gradients = sparse(steps=1)
    there = gradients[0] != 0
    assert abs(moved(CautiousLion, gradients)[there].abs().mean() / 1e-4 - 1) < 0.01


def test_no_gradient_at_all_moves_nothing():
    assert torch.equal(moved(CautiousLion, [torch.zeros(8, 8)] * 2), torch.zeros(8, 8))
