"""A look at the models leaves no trace: random streams, modes and the optimizer's are what they were."""

import random

import numpy as np
import pytest
import torch

from extensions.evaluation.undisturbed import undisturbed
from extensions.model.models import Models


class Looked(Exception):
    pass


class ScheduleFree(torch.optim.SGD):
    """Trains other weights than those to be looked at."""

    mode = "train"

    def train(self):
        self.mode = "train"

    def eval(self):
        self.mode = "eval"


def drawn() -> list[float]:
    return [random.random(), float(np.random.rand()), torch.rand(1).item()]


@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_of_it(fails):
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Linear(2, 2)))
    net[1][1].eval()
    models = Models("sd2", net, [torch.nn.Linear(1, 1)])
    optimizer = ScheduleFree(net.parameters(), lr=1.0)
    modes = [part.training for part in net.modules()]
    for seed in (random, np.random, torch):
        (seed.seed if seed is not torch else torch.manual_seed)(5)
    wanted = drawn()
    for seed in (random, np.random, torch):
        (seed.seed if seed is not torch else torch.manual_seed)(5)
    try:
        with undisturbed(models, optimizer):
            drawn()
            assert not any(part.training for part in net.modules()) and optimizer.mode == "eval"
            assert not net(torch.ones(1, 2)).requires_grad
            if fails:
                raise Looked
    except Looked:
        assert fails
    assert drawn() == wanted
    assert [part.training for part in net.modules()] == modes and optimizer.mode == "train"
    assert net(torch.ones(1, 2)).requires_grad


def test_an_optimizer_without_modes_is_left_alone():
    net = torch.nn.Linear(2, 2)
    with undisturbed(Models("sd2", net, []), torch.optim.SGD(net.parameters())):
        assert not net.training
    assert net.training
