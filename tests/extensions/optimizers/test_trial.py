"""What an optimizer does not take is one line before anything is loaded."""

import argparse
import logging
from functools import partial

import pytest
import torch

from extensions.base.errors import UserError, english
from extensions.optimizers import trial as optimizer_trial
from extensions.reference import flags as reference_flags
from extensions.reference import optimizers
from extensions.upstream import seams, trial
from tests.helpers.optimizer_cases import OPTIMIZERS

DEFAULTS = {"optimizer_type": "AdamW", "optimizer_args": None, "learning_rate": 1e-6}


class Reference:
    """The reference trainer's flags and functions."""

    def flags(self, **given):
        parsed = reference_flags.parser("sdxl_train.py").parse_args([])
        return argparse.Namespace(**vars(parsed) | DEFAULTS | given)

    def check(self, args):
        optimizer_trial.check(args, optimizers.optimizer, partial(optimizers.lr_scheduler, num_processes=1))


class SdScripts:
    """sd-scripts' own."""

    def flags(self, **given):
        import sdxl_train

        return argparse.Namespace(**vars(sdxl_train.setup_parser().parse_args([])) | DEFAULTS | given)

    def check(self, args):
        optimizer_trial.check(args, trial.optimizer, trial.schedule)


@pytest.fixture(params=["reference", pytest.param("sd-scripts", marks=pytest.mark.upstream)])
def trainer(request):
    if request.param == "reference":
        return Reference()
    request.getfixturevalue("patched")
    seams.install()
    return SdScripts()


THREE = ["weight_decay=1e-2", "betas=0.9,0.999,0.9999"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (
            {"optimizer_type": "Lion", "optimizer_args": THREE},
            "=Lion weight_decay=1e-2 betas=.*fails at its first step",
        ),
        ({"optimizer_type": "extensions.optimizers.CautiousLion", "optimizer_args": THREE}, "CautiousLion"),
        ({"optimizer_type": "pytorch_optimizer.CAME", "optimizer_args": ["betas=0.9,0.999"]}, "CAME betas=0.9,0.999"),
        ({"optimizer_type": "AdaFactor", "optimizer_args": THREE}, "betas"),
        ({"optimizer_type": "AdaFactor", "optimizer_args": ["relative_step=False", "eps=1e-3"]}, "first step"),
        ({"optimizer_type": "AdamW8bit", "optimizer_args": ["amsgrad=True"]}, "does not support amsgrad"),
        ({"optimizer_type": "Lion", "learning_rate": 0.0}, "--learning_rate=0.0"),
        ({"optimizer_type": "pytorch_optimizer.Came"}, "pytorch_optimizer.Came.*no attribute"),
        ({"optimizer_type": "no_such_package.Thing"}, "no_such_package"),
        ({"optimizer_type": "AdamW8bits"}, "--optimizer_type=AdamW8bits.*no attribute"),
        ({"lr_warmup_steps": 100}, "--lr_(scheduler=constant.*does not require|warmup_steps=100 has no effect)"),
        ({"optimizer_type": "AdaFactor", "lr_warmup_steps": 9}, "--lr_(scheduler=.*does not require|warmup_steps=9)"),
        ({"lr_scheduler": "adafactor:1e-5"}, "--lr_scheduler=adafactor:1e-5.*[Aa]da[Ff]actor"),
        ({"lr_scheduler": "cosinus"}, "--lr_scheduler=cosinus.*is not a valid"),
        ({"lr_scheduler": "polynomial", "lr_scheduler_args": ["power_of=2"]}, "--lr_scheduler=polynomial.*power_of"),
    ],
)
def test_what_fails_later_is_said_now(given, says, trainer):
    with pytest.raises(UserError, match=says) as caught:
        trainer.check(trainer.flags(**given))
    assert "\n" not in str(caught.value) and str(caught.value).isascii()


@pytest.mark.upstream
@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"use_lion_optimizer": True, "optimizer_args": THREE}, "--optimizer_type=Lion"),
        ({"optimizer_type": "Lion8bits"}, "no attribute"),
        ({"optimizer_type": "AdamW", "fused_backward_pass": True}, "only works with optimizer_type Adafactor"),
    ],
)
def test_what_only_sd_scripts_has(given, says, patched):
    seams.install()
    with pytest.raises(UserError, match=says):
        SdScripts().check(SdScripts().flags(**{"optimizer_type": ""} | given))


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
        {"lr_scheduler": "cosine", "lr_warmup_steps": 0.1},
        {"lr_scheduler": "constant_with_warmup", "lr_warmup_steps": 100},
        {"optimizer_type": "torch.optim.SGD"},
    ],
)
def test_what_works_is_let_through_and_nothing_is_touched(given, trainer, capfd):
    args, before = trainer.flags(**given), torch.get_rng_state()
    trainer.check(args)
    assert vars(args) == vars(trainer.flags(**given)) and torch.equal(torch.get_rng_state(), before)
    assert logging.root.manager.disable == 0 and "optimizer" not in capfd.readouterr().err


def test_half_of_what_is_said_twice():
    assert english(ValueError("only once / \u4e00\u5ea6\u3060\u3051")) == "only once"
    assert english(ValueError("a / b\nc")) == "a / b c" and english(KeyError()) == ""
