"""What an optimizer does not take is one line before anything is loaded."""

import argparse

import pytest
import torch
from optimizer_cases import OPTIMIZERS

from extensions import optimizer_trial
from extensions.errors import UserError


def flags(**given):
    return argparse.Namespace(**{"optimizer_type": "AdamW", "optimizer_args": None, "learning_rate": 1e-6} | given)


THREE = ["weight_decay=1e-2", "betas=0.9,0.999,0.9999"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"optimizer_type": "Lion", "optimizer_args": THREE},
            "=Lion weight_decay=1e-2 betas=.*fails at its first step",
        ),
        ({"optimizer_type": "", "use_lion_optimizer": True, "optimizer_args": THREE}, "--optimizer_type=Lion"),
        ({"optimizer_type": "extensions.cautious_lion.CautiousLion", "optimizer_args": THREE}, "CautiousLion"),
        ({"optimizer_type": "pytorch_optimizer.CAME", "optimizer_args": ["betas=0.9,0.999"]}, "CAME betas=0.9,0.999"),
        ({"optimizer_type": "AdaFactor", "optimizer_args": THREE}, "betas"),
        ({"optimizer_type": "AdaFactor", "optimizer_args": ["relative_step=False", "eps=1e-3"]}, "first step"),
        ({"optimizer_type": "AdamW8bit", "optimizer_args": ["amsgrad=True"]}, "does not support amsgrad"),
        ({"optimizer_type": "Lion", "learning_rate": 0.0}, "--learning_rate=0.0"),
        ({"optimizer_type": "pytorch_optimizer.Came"}, "pytorch_optimizer.Came.*no attribute"),
        ({"optimizer_type": "no_such_package.Thing"}, "no_such_package"),
    ],
)
def test_what_fails_later_is_said_now(given, says):
    with pytest.raises(UserError, match=says) as caught:
        optimizer_trial.check(flags(**given))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"optimizer_type": facts.flag.split()[0], "optimizer_args": facts.flag.split()[1:]}
            for facts in OPTIMIZERS
        ),
        {"optimizer_args": THREE},
        {"optimizer_type": "AdamW8bit", "optimizer_args": THREE},
        {"optimizer_type": "pytorch_optimizer.CAME", "optimizer_args": THREE},
        {"optimizer_type": "AdamW", "optimizer_args": ["betas=(0.9, 0.999)"]},
        {"optimizer_type": "DAdaptAdam", "optimizer_args": ["anything=1"]},
        {"optimizer_type": "torch.optim.SGD"},
    ],
)
def test_what_works_is_let_through_and_nothing_is_touched(given):
    args, before = flags(**given), torch.get_rng_state()
    optimizer_trial.check(args)
    assert vars(args) == vars(flags(**given)) and torch.equal(torch.get_rng_state(), before)
