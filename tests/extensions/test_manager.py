"""Plugins that do not fit are refused in one line; those that fit are called."""

import argparse

import pytest

from extensions import manager
from extensions.base.errors import UserError
from extensions.hookspecs import hookimpl
from extensions.trainer import arguments


class Good:
    claims = ("a thing",)

    @hookimpl
    def first_optimizer_step(self, run):
        return 7


class UnknownHook:
    @hookimpl
    def no_such_hook(self):
        """Not in hookspecs.py."""


class WrongSignature:
    @hookimpl
    def micro_step_ended(self, lost):
        """The argument is called loss."""


def test_calls_reach_the_plugin():
    made = manager.Manager()
    made.register("good", Good())
    assert made.hook.first_optimizer_step(run=None) == 7


@pytest.mark.parametrize("plugin", [UnknownHook, WrongSignature])
def test_misfits_are_refused(plugin):
    with pytest.raises(UserError) as error:
        manager.Manager().register("bad", plugin())
    assert "hookspecs" in str(error.value) and "\n" not in str(error.value)


def test_two_plugins_that_claim_one_thing():
    made = manager.Manager()
    made.register("one", Good())
    with pytest.raises(UserError, match="one and two both decide a thing"):
        made.register("two", Good())


def test_unknown_and_doubled_names():
    with pytest.raises(UserError, match="did you mean dual_tag"):
        manager.Manager(["dual_tags"])
    with pytest.raises(UserError, match="twice"):
        manager.Manager(["dual_tag", "dual_tag"])


@pytest.mark.parametrize("name", manager.available())
def test_every_plugin_loads_and_has_a_test_and_a_docstring(name):
    from extensions.base.paths import ROOT

    made = manager.Manager([name])
    assert (ROOT / "tests" / "extensions" / "plugins" / f"test_{name}.py").is_file()
    assert len(manager.importlib.import_module(f"extensions.plugins.{name}").__doc__.split()) > 10
    assert made.plugins[name].__doc__


@pytest.mark.parametrize("name", manager.available())
def test_every_flag_is_documented(name):
    from extensions.base.paths import ROOT

    parser = argparse.ArgumentParser(add_help=False)
    manager.Manager([name]).hook.add_arguments(parser=parser)
    page = (ROOT / "extensions" / "README.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in page
    for flag, action in parser._option_string_actions.items():
        assert action.help, flag
        assert f"`{flag}" in page, f"{flag} is not in extensions/README.md"


def extended(names):
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning_rate", type=float)
    return arguments.extend(parser, manager.Manager(names))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--learning_rat=1"], "did you mean --learning_rate"),
        (["--dual_tag=tags"], "add dual_tag to --extensions"),
        (["--learning_rate=fast"], "invalid float value"),
        (["--qwxyz"], "neither the trainer nor a plugin"),
    ],
)
def test_parse_errors_are_one_line(flags, says):
    with pytest.raises(UserError, match=says) as error:
        extended(["unet_percent"]).parse_args(flags)
    assert "\n" not in str(error.value)


def test_extensions_are_read_before_the_parser_exists():
    assert arguments.listed_plugins(["--x=1", "--extensions=a, b", "--y"]) == ["a", "b"]
    assert arguments.listed_plugins([]) == []


def test_trace_prints_each_call(monkeypatch, capsys):
    monkeypatch.setenv("EXTENSIONS_TRACE", "1")
    made = manager.Manager()
    made.hook.epoch_range(run=None, epochs=3)
    assert "[hook] epoch_range(" in capsys.readouterr().err
