"""Plugins that do not fit are refused in one line; those that fit are called, in the order of the list."""

import importlib

import pytest

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl


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


def having(monkeypatch, **classes) -> list[str]:
    """Let these be all plugins that there are, one a keyword; their names."""
    monkeypatch.setattr(manager, "declared", classes.__getitem__)
    monkeypatch.setattr(manager, "available", lambda: sorted(classes))
    return list(classes)


def test_calls_reach_the_plugin():
    made = manager.Manager()
    made.register("good", Good())
    assert made.hook.first_optimizer_step(run=None) == 7


@pytest.mark.parametrize("plugin", [UnknownHook, WrongSignature])
def test_misfits_are_refused(plugin):
    with pytest.raises(UserError) as error:
        manager.Manager().register("bad", plugin())
    assert "hookspecs" in str(error.value) and "\n" not in str(error.value)


def test_two_plugins_that_claim_one_thing(monkeypatch):
    names = having(monkeypatch, one=Good, two=Good)
    with pytest.raises(UserError, match="plugins one and two both decide a thing; take one of them out"):
        manager.Manager(names)


def test_unknown_and_doubled_names():
    with pytest.raises(UserError, match="did you mean dual_tag"):
        manager.Manager(["dual_tags"])
    with pytest.raises(UserError, match="there are: bad_sample, .*; one of your own has a dotted name"):
        manager.Manager(["qwxyz"])
    with pytest.raises(UserError, match="lists dual_tag twice"):
        manager.listed("dual_tag, record_run,dual_tag")


@pytest.mark.parametrize("order", [["first", "second"], ["second", "first"]])
def test_of_several_answers_the_first_listed_one_s_is_taken(monkeypatch, order):
    def saying(text):
        class Plugin:
            @hookimpl
            def compose_text(self):
                return text

        return Plugin

    having(monkeypatch, first=saying("first"), second=saying("second"))
    made = manager.Manager(order)
    assert made.hook.compose_text(caption="", tags="", key="", fields={}, draw=None, args=None) == order[0]


def test_who_has_no_answer_leaves_it_to_the_next(monkeypatch):
    class Silent:
        @hookimpl
        def first_optimizer_step(self):
            return None

    names = having(monkeypatch, silent=Silent, good=Good)
    assert manager.Manager(names).hook.first_optimizer_step(run=None) == 7


def test_all_are_called_in_the_order_of_the_list_but_for_who_wants_to_be_first_or_last(monkeypatch):
    calls = []

    def called(name, **when):
        class Plugin:
            @hookimpl(**when)
            def training_ends(self):
                calls.append(name)

        return Plugin

    names = having(
        monkeypatch, a=called("a"), last=called("last", trylast=True), b=called("b"),
        first=called("first", tryfirst=True), c=called("c"),
    )  # fmt: skip
    manager.Manager(names).hook.training_ends(run=None)
    assert calls == ["first", "a", "b", "c", "last"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        (None, []),
        ("", []),
        (" , ,", []),
        ("a", ["a"]),
        (" a,b ,\tc.d\n,", ["a", "b", "c.d"]),
        ("b,a", ["b", "a"]),
    ],
)
def test_the_list_is_split_at_commas(text, names):
    assert manager.listed(text) == names


class Declaring:
    flags = (Flag("loudness", str, "how loud"), Flag("quiet", bool, "not at all"))
    reads = ("trainers_flag",)
    neutral = True


def test_what_a_plugin_declares_is_read_without_making_one(monkeypatch):
    class Bare:
        def __init__(self):
            pytest.fail("made")

    names = having(monkeypatch, bare=Bare, declaring=Declaring)
    assert [flag.name for flag in manager.flags_of(names)] == ["loudness", "quiet"]
    assert [manager.is_neutral(name) for name in names] == [False, True]
    assert (manager.owner_of_flag("quiet"), manager.owner_of_flag("trainers_flag")) == ("declaring", None)
    assert (manager.reader_of("trainers_flag"), manager.reader_of("quiet")) == ("declaring", None)
    assert manager.reader_of("trainers_flag", ["bare"]) is None


@pytest.mark.parametrize("name", manager.available())
def test_every_plugin_loads_and_has_a_test_and_a_docstring(name):
    made = manager.Manager([name])
    assert (ROOT / "tests" / "extensions" / "plugins" / f"test_{name}.py").is_file()
    assert len(importlib.import_module(f"extensions.plugins.{name}").__doc__.split()) > 10
    assert made.plugins[name].__doc__


@pytest.mark.parametrize("name", manager.available())
def test_every_flag_is_documented(name):
    page = (ROOT / "extensions" / "README.md").read_text(encoding="utf-8")
    assert f"| `{name}` |" in page
    for flag in manager.flags_of([name]):
        assert flag.help, flag.name
        assert f"| `--{flag.name}` |" in page, f"--{flag.name} is not in extensions/README.md"


def test_a_flag_has_one_owner():
    names = [flag.name for flag in manager.flags_of(manager.available())]
    assert len(names) == len(set(names))
    for name in manager.available():
        assert all(manager.owner_of_flag(flag.name) == name for flag in manager.flags_of([name]))


def test_what_a_plugin_needs_is_asked_for_at_the_start(monkeypatch):
    before = manager.install(["dual_tag"])
    with pytest.raises(UserError, match="^save_states needs resume_at_step, which orders the data; add it to --ext"):
        manager.install(["save_states"])
    assert manager.current() is before
    for names in (["save_states", "resume_at_step"], ["resume_at_step", "save_states"]):
        assert manager.install(names).names == names


def test_trace_prints_each_call(monkeypatch, capsys):
    monkeypatch.setenv("EXTENSIONS_TRACE", "1")
    made = manager.Manager()
    made.hook.epoch_range(run=None, epochs=3)
    assert "[hook] epoch_range(" in capsys.readouterr().err
