"""Whose state it is: the run's own or its parent's, made by the same code."""

from argparse import Namespace
from pathlib import Path

import pytest

from extensions import manager
from extensions.base import manifest
from extensions.base.errors import UserError
from extensions.base.manifest import Manifest
from extensions.flags.declared import Flag
from extensions.optimizers.facts import OLD_NAMES
from extensions.resume import identity
from extensions.resume.description import Description, State
from tests.helpers.plugin_flags import parsed


def state_of(run: str | None = None, **made_with) -> State:
    """A state of that run, made with these."""
    return State(Path("s"), Description(optimizer_steps=4, run=run, made_with=made_with))


def flags_of(*plugins: str, **values) -> dict:
    """What is compared of a run that lists these."""
    return {"flags": {"extensions": ",".join(plugins)} | values}


@pytest.fixture
def args(tmp_path):
    record = Manifest(run="25031101", parent="25030802", trainer="sd-scripts", patch_series_sha256="ab", images=1)
    manifest.write(tmp_path, record)
    return Namespace(run_folder=tmp_path)


@pytest.mark.parametrize("run", ["25031101", "25030802", None])
def test_its_own_or_its_parents(args, run):
    identity.require_lineage(state_of(run), args)
    identity.require_lineage(state_of("25040601"), Namespace(run_folder=None))  # nothing is known


def test_another_runs(args):
    with pytest.raises(UserError, match="s is a state of run 25040601, not of 25031101 nor of its parent 25030802"):
        identity.require_lineage(state_of("25040601"), args)


def test_another_trainer_or_series_is_a_difference(args):
    here = {"trainer": "sd-scripts", "sd_scripts_commit": None, "patch_series_sha256": "ab"}
    assert identity.code(args) == here and identity.code(Namespace(run_folder=None)) == {}
    now = {"data": "d", "flags": {"seed": "1"}, "processes": 4, "code": here}
    state = state_of(**now | {"code": here | {"trainer": "reference"}})
    with pytest.raises(
        UserError, match="other code: trainer is reference there, sd-scripts here.*--resume_allow=code"
    ):
        identity.require_same(state, now, set())
    identity.require_same(state, now, {"code"})
    with pytest.raises(UserError, match="other processes: 2 there, 4 here"):
        identity.require_same(state_of(**now | {"processes": 2}), now, {"code"})


def test_a_series_that_makes_the_same_programs_is_no_difference():
    (before, after), *_ = identity.SAME_SERIES.items()
    old, new = ({"code": {"trainer": "sd-scripts", "patch_series_sha256": each}} for each in (before, after))
    identity.require_same(state_of(**old), new, set())
    with pytest.raises(UserError, match="was made with other code: patch_series_sha256"):
        identity.require_same(state_of(**old), {"code": new["code"] | {"patch_series_sha256": "0" * 64}}, set())


def test_all_that_is_allowed_is_told_line_by_line_by_one_process(args, monkeypatch, capsys):
    before = {"data": "d", "flags": {"seed": "1", "learning_rate": "1e-06", "gone": "3"}, "processes": 4, "code": {}}
    now = {"data": "e", "flags": {"seed": "1", "learning_rate": "2e-06", "new": "x"}, "processes": 2, "code": {}}
    state = state_of(**before)
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
    identity.require_same(state_of(**before), before | {"flags": {"seed": "1"}}, set())


@pytest.mark.parametrize("at_default", [True, False])
def test_a_flag_that_this_version_has_first_stops_no_old_state_at_its_default(at_default):
    """dual_tag_keep_first stands for it: the state was made before it was there."""
    words = ["--dual_tag=tags", *([] if at_default else ["--dual_tag_keep_first=2"])]
    now = identity.of_launch(parsed("dual_tag", *words, seed=3))
    before = flags_of("dual_tag", seed="3", dual_tag="tags")
    if at_default:
        identity.require_same(state_of(**before), {"flags": now["flags"]}, set())
    else:
        with pytest.raises(UserError, match="other flags: dual_tag_keep_first is not set there, 2 here"):
            identity.require_same(state_of(**before), {"flags": now["flags"]}, set())


def test_a_state_of_before_there_were_two_orders_has_the_drawn_one():
    parsed("resume_at_step")
    before = flags_of("resume_at_step", seed="3")
    for order in ("as_drawn", None):
        now = flags_of("resume_at_step", seed="3", **({"data_order": order} if order else {}))
        identity.require_same(state_of(**before), now, set())
        identity.require_same(state_of(**now), before, set())
    dealt = flags_of("resume_at_step", seed="3", data_order="dealt")
    identity.require_same(state_of(**dealt), dealt, set())
    for there, here in ((before, dealt), (dealt, before)):
        with pytest.raises(UserError, match="s was made with other flags: data_order is .* undo that, or") as caught:
            identity.require_same(state_of(**there), here, set())
        assert "\n" not in str(caught.value)
        identity.require_same(state_of(**there), here, {"flags"})


def test_a_flag_that_this_version_has_no_more_stops_an_old_state():
    """Nothing is known of its default."""
    parsed("dual_tag")
    with pytest.raises(UserError, match="other flags: dual_tag_once is None there, not set here"):
        identity.require_same(state_of(**flags_of("dual_tag", dual_tag_once="None")), flags_of("dual_tag"), set())


def test_a_default_that_was_given_is_one_that_was_not():
    parsed("dual_tag")
    given, left = flags_of("dual_tag", dual_tag_drop_tags="0.0"), flags_of("dual_tag")
    for before, now in ((given, left), (left, given)):
        identity.require_same(state_of(**before), now, set())


@pytest.mark.parametrize("old", OLD_NAMES)
def test_an_optimizer_s_old_name_is_the_same_optimizer(old):
    before, now = {"flags": {"optimizer_type": old}}, {"flags": {"optimizer_type": OLD_NAMES[old]}}
    identity.require_same(state_of(**before), now, set())
    with pytest.raises(UserError, match=f"optimizer_type is {OLD_NAMES[old]} there, Lion here"):
        identity.require_same(state_of(**before), {"flags": {"optimizer_type": "Lion"}}, set())


@pytest.mark.parametrize("before", ["dual_tag,save_states,record_run", "dual_tag,save_states,on_nan,record_run"])
def test_plugins_that_change_no_weight_may_come_and_go(before):
    state = state_of(**flags_of(before))
    identity.require_same(state, flags_of("dual_tag,save_states,on_nan,bad_sample"), set())
    with pytest.raises(UserError, match="other flags: extensions is dual_tag there, dual_tag,cpu_bf16 here"):
        identity.require_same(state, flags_of(before, "cpu_bf16"), set())


@pytest.mark.parametrize("order", ["dual_tag,token_chunks", "token_chunks,dual_tag"])
def test_the_order_of_the_others_counts(order):
    state = state_of(**flags_of("dual_tag", "token_chunks"))
    if order == "dual_tag,token_chunks":
        identity.require_same(state, flags_of("on_nan", order), set())
    else:
        with pytest.raises(UserError, match="other flags: extensions"):
            identity.require_same(state, flags_of("on_nan", order), set())


def test_a_plugin_that_is_not_to_be_had_any_more_counts_as_one_that_changes_weights():
    assert not manager.is_neutral("gone") and identity.neutral_flags(["gone", "nobody.has_it"]) == set()
    with pytest.raises(UserError, match="extensions is dual_tag,gone there, dual_tag here"):
        identity.require_same(state_of(**flags_of("dual_tag", "gone")), flags_of("dual_tag"), set())


NEUTRAL = {
    "save_states", "on_nan", "bad_sample", "record_run", "ema", "validate", "sample_images", "shard_optimizer",
    "recompute", "text_outputs",
}  # fmt: skip


def test_which_plugins_change_no_weight():
    assert {name for name in manager.available() if manager.is_neutral(name)} == NEUTRAL


@pytest.mark.parametrize("name", sorted(NEUTRAL))
def test_all_flags_of_a_plugin_that_changes_no_weight_change_none(name):
    assert identity.neutral_flags([name]) == {flag.name for flag in manager.flags_of([name])}


def test_a_plugin_that_changes_weights_has_flags_of_both_kinds(monkeypatch):
    class Plugin:
        flags = (Flag("quietly", bool, "", neutral=True), Flag("louder", bool, ""))

    monkeypatch.setattr(manager, "declared", lambda name: Plugin)
    assert identity.neutral_flags(["some.plugin"]) == {"quietly"}
    Plugin.neutral = True
    assert identity.neutral_flags(["some.plugin"]) == {"quietly", "louder"}


def test_only_flags_that_change_weights_count():
    of_plugins = identity.neutral_flags(manager.available())
    for flag in ("save_every_n_steps", "output_dir", "ddp_timeout", "resume_from", "stop_at_step", "keep_states"):
        assert identity.is_neutral(flag, of_plugins)
    for flag in ("seed", "learning_rate", "gradient_accumulation_steps", "unet_percent", "dual_tag", "extensions"):
        assert not identity.is_neutral(flag, of_plugins)


def test_what_is_compared_of_a_launch_are_the_flags_that_change_weights(tmp_path):
    manager.install(["resume_at_step", "save_states", "dual_tag"])
    words = ["--dual_tag=pick", "--initial_step=4", "--keep_states=7"]
    args = parsed("resume_at_step,save_states,dual_tag", *words, seed=3, output_dir=tmp_path, run_folder=None)
    found = identity.of_launch(args)
    assert found["processes"] == 1 and found["code"] == {}
    assert found["flags"].items() >= {("seed", "3"), ("dual_tag", "pick"), ("extensions", args.extensions)}
    assert found["flags"].keys() & {"initial_step", "keep_states", "resume_mode", "output_dir", "run_folder"} == set()
