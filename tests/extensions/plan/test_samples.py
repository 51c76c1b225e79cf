"""What the images cost that a run draws: passes counted by hand, the line of the plan, prompts that are wrong."""

import pytest

from extensions.base.errors import UserError
from extensions.plan import plan, samples
from extensions.plan import tables as plan_tables

LISTED = "--extensions=unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run,sample_images"


@pytest.fixture
def prompts(tmp_path):
    """Two prompts: 28 steps with guidance at the training's size, and 10 without at a quarter of its pixels."""
    path = tmp_path / "prompts.txt"
    path.write_text("a fox\na dog --w 512 --h 512 --s 10 --l 1\n")
    return path


def planned(flags: str):
    return samples.of(plan.read("25022601", {"ARGS": flags}).asked, 6_224)


def test_a_run_that_draws_nothing_has_no_line(capsys):
    plan_tables.show("25022601", {}, lambda _: None)
    assert "samples:" not in capsys.readouterr().out
    assert planned("") is None


def test_the_passes_are_those_of_the_pixels(prompts):
    found = planned(f"{LISTED} --sample_prompts={prompts} --sample_every_n_steps=100")
    passes = 28 * 2 + 10 / 4  # four cards with accumulation 4: an optimizer step has 16 images of 3 passes
    assert (found.images, found.every) == (2, 100)
    assert found.share == pytest.approx(passes / (passes + 100 * 16 * 3), rel=0.01)


def test_more_columns_cost_as_many_times(prompts):
    flags = f"--sample_prompts={prompts} --sample_every_n_steps=100"
    one, both = planned(f"{LISTED} {flags}"), planned(f"{LISTED} {flags} --sample_unconditional=both")
    averaged = planned(f"{LISTED},ema {flags}")
    assert (one.images, both.images, averaged.images) == (2, 4, 6)  # raw, and two lengths of averages
    assert both.share == pytest.approx(2 * one.share, rel=0.02)


def test_an_interval_of_epochs_is_counted_in_optimizer_steps(prompts):
    assert planned(f"{LISTED} --sample_prompts={prompts} --sample_every_n_epochs=2").every == 2 * 389
    assert planned(f"{LISTED} --sample_prompts={prompts}").text() == "samples: 2 images at the end alone"


def test_the_plan_says_it_and_refuses_a_file_that_is_none(prompts, capsys):
    flags = f"{LISTED} --sample_captions=2 --validation_count=4 --sample_every_n_steps=1000"
    plan_tables.show("25022601", {"ARGS": f"{flags} --sample_prompts={prompts}"}, lambda _: None)
    said = capsys.readouterr().out
    assert "samples: 4 images every 1,000 optimizer steps, 0.35% of the time" in said
    with pytest.raises(UserError, match="cannot be read"):
        plan_tables.show("25022601", {"ARGS": f"{flags} --sample_prompts={prompts}.gone"}, lambda _: None)
