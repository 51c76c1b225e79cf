"""What a validation costs, as a plan says it, and what the plugin counts at the start of the run."""

import re

import pytest

from extensions.plan import evaluation, plan
from extensions.plan import tables as plan_tables
from tests.helpers.launching import launch

LISTED = "--extensions=unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run,validate"


def planned(flags: str) -> plan.Plan:
    return plan.read("25022601", {"ARGS": flags})


def test_a_run_that_does_not_validate_has_no_line(capsys):
    plan_tables.show("25022601", {}, lambda _: None)
    assert "validation" not in capsys.readouterr().out
    assert evaluation.of(planned("").asked) is None


def test_four_cards_with_accumulation_four_ask_within_a_hundredth_of_the_time(capsys):
    plan_tables.show("25022601", {"ARGS": f"{LISTED} --validation_share=0.01"}, lambda _: None)
    said = capsys.readouterr().out
    assert "validation: 640 forward passes every 1,334 optimizer steps, 0.99% of the time" in said
    assert "does not depend on" not in said


@pytest.mark.parametrize(("flags", "images"), [("--validation_count=24", 6_200), ("--validation_share=0.5", 3_112)])
def test_images_that_are_held_out_are_not_counted(flags, images):
    assert planned(f"{LISTED} {flags}").images == images


@pytest.mark.slow
def test_the_plugin_says_the_same(standins, tmp_path):
    flags = f"{LISTED} --validation_count=3 --validation_strata=1 --gradient_accumulation_steps=2"
    run = launch("25022601", tmp_path, PROFILE="tiny", TINY_STEPS=1, TRAINER="reference", ARGS=flags)
    assert run.code == 0, run.said[-2000:]
    said = re.search(r"every ([\d,]+) optimizer steps: ([\d,]+) forward passes, (\S+)% of the time", run.said)
    found = evaluation.of(plan.read("25022601", {"ARGS": flags, "GPUS": "1"}).asked)
    assert said.groups() == (f"{found.every:,}", f"{found.passes:,}", f"{100 * found.share:.2g}")
