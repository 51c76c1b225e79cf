"""The one main of both trainers, around a trainer of a page: what is called when, and how the end is told."""

import argparse
import errno
import os
import tempfile

import pytest
import torch

from extensions import manager
from extensions.base.errors import NotFinite, Stopped, UserError
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.optimizers import facts as optimizer_facts
from extensions.reference import optimizers
from extensions.trainer import checks, start

calls: list = []


class Tiny:
    """A trainer that writes down what it is asked."""

    def parser(self, script):
        calls.append(("parser", script, manager.current().names))
        if script != "tiny.py":
            raise UserError(f"no script {script}")
        parser = argparse.ArgumentParser()
        for name, kind, default in (
            ("optimizer_type", str, ""), ("learning_rate", float, 1e-3), ("lr_scheduler", str, "constant"),
            ("min_timestep", int, None), ("max_timestep", int, None), ("dataset_class", str, None),
        ):  # fmt: skip
            parser.add_argument(f"--{name}", type=kind, default=default)
        parser.add_argument("--optimizer_args", nargs="*")
        return parser

    def parse(self, parser, words):
        calls.append("parse")
        return parser.parse_args(words)

    def check(self, args):
        calls.append("check")

    def optimizer(self, args, groups):
        calls.append(("optimizer", args.optimizer_type))
        return optimizers.class_of(args.optimizer_type)(groups)

    def schedule(self, args, optimizer):
        calls.append("schedule")
        return torch.optim.lr_scheduler.ConstantLR(optimizer)

    def train(self, args):
        calls.append(("train", args.loudness, manager.args() is args))


class Watch:
    """A plugin with a flag, told of the begin and the end."""

    flags = (Flag("loudness", int, "how loud"),)

    @hookimpl
    def check_arguments(self, args):
        calls.append(("check_arguments", args.optimizer_type))
        if args.loudness == 11:
            raise UserError("too loud; give 10 or less")

    @hookimpl
    def run_ended(self, error):
        calls.append(("run_ended", error))


@pytest.fixture(autouse=True)
def watched(monkeypatch):
    """The plugin `watch`, no flags of an earlier run, and the trainers' common checks written down."""
    calls.clear()
    declared, check = manager.declared, checks.check
    monkeypatch.setattr(manager, "declared", lambda name: Watch if name == "watch" else declared(name))
    monkeypatch.setattr(manager, "_args", None)
    monkeypatch.setattr(checks, "check", lambda args: calls.append("checks") or check(args))


WORDS = ["--extensions=watch", "--loudness=3"]
BEFORE = [
    ("parser", "tiny.py", ["watch"]), "parse", ("check_arguments", ""), "checks", "check", ("optimizer", ""),
    "schedule",
]  # fmt: skip


def test_what_is_called_when():
    start.main(Tiny(), "tiny.py", WORDS)
    assert calls == [*BEFORE, ("train", 3, True)]


def test_only_check_ends_before_anything_is_loaded():
    start.main(Tiny(), "tiny.py", WORDS, only_check=True)
    assert calls == BEFORE
    with pytest.raises(RuntimeError, match="not parsed yet"):
        manager.args()


@pytest.mark.parametrize("old", optimizer_facts.OLD_NAMES)
def test_an_optimizer_s_old_name_becomes_its_present_one_for_all(old):
    start.main(Tiny(), "tiny.py", [*WORDS, f"--optimizer_type={old}"])
    named = [call[1] for call in calls if call[0] in ("check_arguments", "optimizer")]
    assert named == [optimizer_facts.OLD_NAMES[old]] * 2
    assert manager.args().optimizer_type == optimizer_facts.OLD_NAMES[old]


@pytest.mark.parametrize(
    ("script", "words", "says", "last"),
    [
        ("tiny.py", ["--extensions=watchh"], "no plugin named 'watchh'", None),
        ("tiny.py", ["--extensions=save_states"], "save_states needs resume_at_step", None),
        ("other.py", WORDS, "no script other.py", "parser"),
        ("tiny.py", [*WORDS, "--loudnes=2"], "did you mean --loudness", "parse"),
        ("tiny.py", ["--extensions=watch", "--loudness=loud"], "'loud' is", "parse"),
        ("tiny.py", ["--extensions=watch", "--loudness=11"], "too loud", "check_arguments"),
        ("tiny.py", [*WORDS, "--min_timestep=1000"], "timesteps count from 0", "checks"),
        ("tiny.py", [*WORDS, "--optimizer_type=NoSuch"], "--optimizer_type=NoSuch: .*no attribute", "optimizer"),
        ("tiny.py", [*WORDS, "--optimizer_args", "x"], "'x' is not key=value", "checks"),
    ],
)
def test_what_is_refused_and_by_whom(script, words, says, last):
    with pytest.raises(UserError, match=says) as caught:
        start.main(Tiny(), script, words)
    assert "\n" not in str(caught.value)
    names = [call if isinstance(call, str) else call[0] for call in calls]
    assert (names[-1] if names else None) == last


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, 0),
        (UserError("no base; give one"), 2),
        (Stopped("as asked"), 75),
        (NotFinite("loss"), 76),
        (KeyboardInterrupt(), 130),
        (SystemExit(3), 3),
        (ZeroDivisionError("ours"), 1),
    ],
)
def test_the_plugins_hear_how_it_ended_once_and_the_code_says_it(error, code, capsys):
    def begin():
        manager.install(["watch"])
        if error is not None:
            raise error

    assert start.run(begin) == code
    assert calls == [("run_ended", error)]
    assert ("Traceback" in capsys.readouterr().err) == (code == 1)


def test_who_is_refused_before_its_plugins_are_known_ends_all_the_same(capsys):
    assert start.run(lambda: start.main(Tiny(), "tiny.py", ["--extensions=watchh"])) == 2
    assert calls == [] and capsys.readouterr().err.startswith("error: --extensions: no plugin named 'watchh'")


def test_the_folder_of_torchs_compiler_is_where_torch_makes_it(tmp_path, monkeypatch):
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    start.make_compilers_folder()
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    assert [str(path) for path in tmp_path.iterdir()] == [default_cache_dir()]


def test_a_full_disk_for_it_is_told_and_another_trouble_is_torchs(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device", "x")

    monkeypatch.setattr(os, "makedirs", full)
    with pytest.raises(OSError, match="No space left"):
        start.make_compilers_folder()
    monkeypatch.undo()
    (tmp_path / "file").touch()
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "file" / "below"))
    start.make_compilers_folder()
