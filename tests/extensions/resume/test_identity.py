"""Whose state it is: the run's own or its parent's, made by the same code."""

import argparse
import json
from argparse import Namespace
from pathlib import Path

import pytest

from extensions import manager
from extensions.base.errors import UserError
from extensions.resume import identity
from extensions.resume.states import State


@pytest.fixture
def args(tmp_path):
    record = {"run": "25031101", "parent": "25030802", "trainer": "sd-scripts", "patch_series_sha256": "ab", "x": 1}
    (tmp_path / "manifest.json").write_text(json.dumps(record))
    return Namespace(run_folder=tmp_path)


@pytest.mark.parametrize("run", ["25031101", "25030802", None])
def test_its_own_or_its_parents(args, run):
    identity.require_lineage(State(Path("s"), {"run": run}), args)
    identity.require_lineage(State(Path("s"), {"run": "25040601"}), Namespace(run_folder=None))  # nothing is known


def test_another_runs(args):
    with pytest.raises(UserError, match="s is a state of run 25040601, not of 25031101 nor of its parent 25030802"):
        identity.require_lineage(State(Path("s"), {"run": "25040601"}), args)


def test_another_trainer_or_series_is_a_difference(args):
    assert identity.code(args) == {"trainer": "sd-scripts", "patch_series_sha256": "ab"}
    now = {"data": "d", "flags": {"seed": "1"}, "processes": 4, "code": identity.code(args)}
    state = State(Path("s"), {"made_with": now | {"code": {"trainer": "reference", "patch_series_sha256": "ab"}}})
    with pytest.raises(
        UserError, match="other code: trainer is reference there, sd-scripts here.*--resume_allow=code"
    ):
        identity.require_same(state, now, set())
    identity.require_same(state, now, {"code"})
    state = State(Path("s"), {"made_with": now | {"processes": 2}})
    with pytest.raises(UserError, match="other processes: 2 there, 4 here"):
        identity.require_same(state, now, {"code"})


def test_all_that_is_allowed_is_told_line_by_line_by_one_process(args, monkeypatch, capsys):
    before = {"data": "d", "flags": {"seed": "1", "learning_rate": "1e-06", "gone": "3"}, "processes": 4, "code": {}}
    now = {"data": "e", "flags": {"seed": "1", "learning_rate": "2e-06", "new": "x"}, "processes": 2, "code": {}}
    state = State(Path("s"), {"made_with": before})
    identity.require_same(state, now, {"data", "flags", "processes"})
    assert capsys.readouterr().out.splitlines() == [
        "--resume_allow=data: d there, e here",
        "--resume_allow=flags: gone is 3 there, not set here",
        "--resume_allow=flags: learning_rate is 1e-06 there, 2e-06 here",
        "--resume_allow=flags: new is not set there, x here",
        "--resume_allow=processes: 4 there, 2 here",
    ]
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("LOCAL_RANK", "1")
    identity.require_same(state, now, {"data", "flags", "processes"})
    identity.require_same(state, before, set())
    assert capsys.readouterr().out == ""
    with pytest.raises(UserError, match="other flags: gone is 3 there, not set here; undo that"):
        identity.require_same(state, now, {"data", "processes"})


def test_a_state_of_before_a_flag_was_neutral_is_gone_on_from():
    before = {"data": "d", "flags": {"seed": "1", "ddp_timeout": "None"}, "processes": 4, "code": {}}
    identity.require_same(State(Path("s"), {"made_with": before}), before | {"flags": {"seed": "1"}}, set())


@pytest.mark.parametrize("before", ["dual_tag,save_states,record_run", "dual_tag,save_states,on_nan,record_run"])
def test_plugins_that_change_no_weight_may_come_and_go(before):
    state = State(Path("s"), {"made_with": {"flags": {"extensions": before}}})
    identity.require_same(state, {"flags": {"extensions": "dual_tag,save_states,on_nan,bad_sample"}}, set())
    with pytest.raises(UserError, match="other flags: extensions is dual_tag there, dual_tag,cpu_bf16 here"):
        identity.require_same(state, {"flags": {"extensions": f"{before},cpu_bf16"}}, set())


@pytest.mark.parametrize("order", ["dual_tag,token_chunks", "token_chunks,dual_tag"])
def test_the_order_of_the_others_counts(order):
    state = State(Path("s"), {"made_with": {"flags": {"extensions": "dual_tag,token_chunks"}}})
    if order == "dual_tag,token_chunks":
        identity.require_same(state, {"flags": {"extensions": f"on_nan,{order}"}}, set())
    else:
        with pytest.raises(UserError, match="other flags: extensions"):
            identity.require_same(state, {"flags": {"extensions": f"on_nan,{order}"}}, set())


@pytest.mark.parametrize("name", identity.NEUTRAL_PLUGINS)
def test_all_flags_of_a_plugin_that_changes_no_weight_change_none(name):
    parser = argparse.ArgumentParser(add_help=False)
    manager.Manager([name]).hook.add_arguments(parser=parser)
    flags = [action.dest for action in parser._actions]
    assert flags and all(map(identity.neutral, flags))


def test_only_flags_that_change_weights_count():
    assert identity.neutral("save_every_n_steps") and identity.neutral("output_dir")
    assert identity.neutral("ddp_timeout")
    for flag in ("seed", "learning_rate", "gradient_accumulation_steps", "unet_percent", "dual_tag", "extensions"):
        assert not identity.neutral(flag)
