"""Seams: installed once, checked against what upstream offers, transparent without plugins."""

import argparse

import pytest
import torch

from extensions.base.errors import UserError
from extensions.model.models import Models
from extensions.upstream import seams, wrappers

pytestmark = pytest.mark.upstream


@pytest.mark.parametrize("seam", seams.SEAMS, ids=lambda seam: seam.name)
def test_upstream_still_has_it_and_takes_what_we_read(seam, patched):
    _, _, function = seam.target()
    seam.check(getattr(function, "__wrapped__", function))
    assert len(seam.reason.split()) > 1


def test_a_dropped_function_or_argument_is_one_line(patched):
    gone = seams.Seam("library.train_util", "no_such", lambda: None, (), "gone")
    with pytest.raises(UserError, match="no_such"):
        gone.install()
    changed = seams.Seam("library.train_util", "get_optimizer", lambda: None, ("speed",), "changed")
    with pytest.raises(UserError, match="speed"):
        changed.check(changed.target()[2])


def test_installed_once(patched):
    seams.install()
    first = [seam.target()[2] for seam in seams.SEAMS]
    seams.install()
    assert [seam.target()[2] for seam in seams.SEAMS] == first


def test_frozen_parameters_leave_the_groups(monkeypatch):
    net = torch.nn.Sequential(torch.nn.Linear(1, 1), torch.nn.Linear(1, 1))
    net[0].requires_grad_(False)
    seen = []
    monkeypatch.setattr(wrappers, "_models", Models("sdxl", net))
    monkeypatch.setattr(wrappers.manager.current(), "names", ["some plugin"])
    args = argparse.Namespace(learning_rate=1.0)
    groups = [{"params": list(net[0].parameters()), "lr": 1.0}, {"params": list(net.parameters()), "lr": 2.0}]

    def upstream(_args, given):
        seen.append(given)
        return "torch.optim.SGD", "", torch.optim.SGD(given, lr=1.0)

    for parameters in (groups, list(net.parameters())):
        name, words, optimizer = wrappers.get_optimizer(upstream, args, parameters)
        assert (name, words, type(optimizer)) == ("torch.optim.SGD", "", torch.optim.SGD)
    kept = list(net[1].parameters())
    assert [len(seen[0]), seen[0][0]["lr"], len(seen[0][0]["params"])] == [1, 2.0, 2]
    assert len(seen[1]) == 2 and all(a is b for a, b in zip(seen[1], kept, strict=True))


def asked(**flags):
    return argparse.Namespace(learning_rate=1.0, **flags)


def cast_by_the_seam(monkeypatch, family, args):
    """(dtypes that the optimizer is given, whether it holds the models' own parameters)."""
    unet, encoder = torch.nn.Linear(2, 2), torch.nn.Linear(3, 1)
    monkeypatch.setattr(wrappers, "_models", Models(family, unet, [encoder]))
    seen = []

    def upstream(_args, given):
        seen.extend(given)
        return "torch.optim.SGD", "", torch.optim.SGD(given, lr=1.0)

    wrappers.get_optimizer(upstream, args, [*unet.parameters(), *encoder.parameters()])
    own = [*unet.parameters(), *encoder.parameters()]
    return {p.dtype for p in own}, all(a is b for a, b in zip(seen, own, strict=True))


def test_full_bf16_of_fine_tune_casts_the_models_and_keeps_their_parameters(monkeypatch):
    assert cast_by_the_seam(monkeypatch, "sd2", asked(full_bf16=True)) == ({torch.bfloat16}, True)


@pytest.mark.parametrize("flags", [{"full_bf16": False}, {}])
def test_without_the_flag_nothing_is_cast(monkeypatch, flags):
    assert cast_by_the_seam(monkeypatch, "sd2", asked(**flags)) == ({torch.float32}, True)


def test_sdxl_is_left_to_upstream(monkeypatch):
    assert cast_by_the_seam(monkeypatch, "sdxl", asked(full_bf16=True)) == ({torch.float32}, True)


def test_upstreams_fine_tune_still_ignores_full_bf16(patched):
    """When this fails upstream has it: our cast can go."""
    assert "full_bf16" not in (patched / "fine_tune.py").read_text(encoding="utf-8")
    assert "args.full_bf16" in (patched / "sdxl_train.py").read_text(encoding="utf-8")


def test_nothing_left_to_train(monkeypatch):
    net = torch.nn.Linear(1, 1).requires_grad_(False)
    monkeypatch.setattr(wrappers, "_models", Models("sdxl", net))
    monkeypatch.setattr(wrappers.manager.current(), "names", ["some plugin"])
    with pytest.raises(UserError, match="nothing"):
        wrappers.get_optimizer(lambda *_: None, argparse.Namespace(learning_rate=1.0), list(net.parameters()))
