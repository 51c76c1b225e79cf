"""What an optimizer does not take is one line before anything is loaded."""

import argparse
import errno
import logging

import pytest
import torch

from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.optimizers import trial as optimizer_trial
from extensions.reference.__main__ import Reference
from extensions.upstream.__main__ import Upstream
from tests.helpers.optimizer_cases import ADAMW_TAKES_THREE, OPTIMIZERS

DEFAULTS = {"optimizer_type": "AdamW", "optimizer_args": None, "learning_rate": 1e-6, "learning_rate_te1": 1e-5}


class Trial:
    """A trainer's flags and its functions."""

    def __init__(self, trainer):
        self.trainer = trainer
        self.defaults = vars(trainer.parser("sdxl_train.py").parse_args([])) | DEFAULTS

    def flags(self, **given):
        return argparse.Namespace(**self.defaults | given)

    def check(self, args):
        name = settings.of_args(args).optimizer
        optimizer_trial.check(args, name, self.trainer.optimizer, self.trainer.schedule)


@pytest.fixture
def sd_scripts(patched):
    return Trial(Upstream(str(patched)))


@pytest.fixture(params=["reference", pytest.param("sd_scripts", marks=pytest.mark.upstream)])
def trainer(request):
    return Trial(Reference()) if request.param == "reference" else request.getfixturevalue(request.param)


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
        ({"optimizer_type": "Lion", "learning_rate": 0.0, "train_text_encoder": True}, "--learning_rate=0.0"),
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
def test_what_only_sd_scripts_has(given, says, sd_scripts):
    with pytest.raises(UserError, match=says):
        sd_scripts.check(sd_scripts.flags(**{"optimizer_type": ""} | given))


@pytest.mark.parametrize(
    "given",
    [
        *(
            {"optimizer_type": facts.flag.split()[0], "optimizer_args": facts.flag.split()[1:]}
            for facts in OPTIMIZERS
        ),
        pytest.param(
            {"optimizer_args": THREE},
            marks=pytest.mark.skipif(not ADAMW_TAKES_THREE, reason="this torch's AdamW takes two betas"),
        ),
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


def test_a_full_temporary_folder_is_not_the_optimizers_fault(monkeypatch):
    """torch's compiler has a folder there; a library that fails without it fails at something else."""

    def full():
        raise OSError(errno.ENOSPC, "No space left on device", "/tmp/torchinductor_me")

    monkeypatch.setattr("torch._inductor.runtime.cache_dir_utils.cache_dir", full)
    with pytest.raises(OSError, match="torchinductor_me"), optimizer_trial.explained("x", "y", "z"):
        raise AssertionError("already registered")
