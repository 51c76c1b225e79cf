"""`make plan`: counts of every recorded run, the caller's changes, the verdict."""

import re
from dataclasses import replace
from math import ceil

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.logbook import steps
from extensions.plan import plan, recorded, speed
from extensions.plan import tables as plan_tables

SUM = re.compile(r"= ([\d,]+) images x (\d+) epoch\(s\) / \((\d) GPU\(s\) x (\d+) x (\d+)\), which is ")
# images, samples, micro-steps, optimizer steps of the whole schedule, as recorded
WHOLE = {
    "24121401": (6_224, 62_240, 62_240, 62_240),
    "25012801": (6_224, 62_240, 15_560, 15_560),
    "25022102": (6_224, 62_240, 15_560, 15_560),
    "25022103": (6_224, 62_240, 15_560, 15_560),
    **dict.fromkeys(
        ["25022301", "25022401", "25022501", "25022502", "25022601", "25030301"], (6_224, 62_240, 15_560, 3_890)
    ),
    "25033101": (12_446_672, 12_446_672, 3_111_668, 777_917),
}


def told(capsys, run, **variables):
    """What is printed, as lines of single-spaced words."""
    plan_tables.show(run, variables, lambda _: None)
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize("name", WHOLE)
def test_whole_schedules_are_the_recorded_ones(name):
    made = plan.read(name, {})
    _, whole = plan.counts_of(made)
    assert (made.images, whole.samples, whole.micro_steps, whole.optimizer_steps) == WHOLE[name]


# The last step of every complete log, as recorded; elsewhere than in WHOLE the launcher follows the logbook's words.
ELSEWHERE = {
    "24120801": (
        62_240,
        "6,224 images x 10 epoch(s) / (1 GPU(s) x 1 x 1), which is the 6k dataset; the launcher has 200 steps:",
    ),
    "24121901": (
        15_560,
        "6,224 images x 10 epoch(s) / (4 GPU(s) x 1 x 1), which is 4 GPU(s); the launcher has 62,240 steps:",
    ),
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_log_of_other_data_or_gpus_is_told_with_its_steps(name, capsys):
    count, why = ELSEWHERE[name]
    (line,) = [line for line in told(capsys, name) if line.startswith("just_astolfo")]
    assert f": {count:,} optimizer steps in " in line and f" h = {why}" in line


def test_every_log_is_equal_to_the_plan_or_the_plan_says_why():
    equal, told_why = set(), set()
    for name, logs in recorded.read().logs.items():
        made = plan.read(name, {})
        _, whole = plan.counts_of(made)
        for log in logs:
            line = speed.log_line(made.launcher, log)
            assert f"{log.steps:,} optimizer steps" in line
            if log.steps == whole.optimizer_steps:
                assert line.endswith("as the launcher counts")
                equal.add(name)
            elif found := SUM.search(line):
                images, epochs, gpus, batch, ga = (int(number.replace(",", "")) for number in found.groups())
                assert epochs * ceil(ceil(ceil(images / batch) / gpus) / ga) == log.steps
                told_why.add(name)
            else:
                assert f"the launcher's {whole.optimizer_steps:,}" in line and "stopped early, or other data" in line
    assert equal == WHOLE.keys() - {"25033101"}  # the production run's logs are not there
    assert told_why == {*ELSEWHERE, "24122001", "24122002", "24122101"}


def test_segments_of_the_production_run_add_up():
    names = ["25030802", "25031101", "25031401", "25031402", "25031601", "25031701", "25032201", "25032901"]
    names += ["25033101", "25040601", "25040602", "25040901", "25041301"]
    parts = [plan.counts_of(plan.read(name, {})) for name in names]
    for field in ("samples", "micro_steps", "optimizer_steps"):
        assert sum(getattr(own, field) for own, _ in parts) == getattr(parts[0][1], field)


def test_every_launcher_can_be_planned(capsys):
    for script in sorted(LAUNCHERS.glob("[0-9]*.sh")):
        lines = told(capsys, script.stem, IMG_S="1.5")
        assert any(line.startswith("optimizer steps") for line in lines)
        assert any(line.startswith(("fits", "warning")) for line in lines), script.stem


def test_a_plan_shows_counts_parameters_memory_and_hours(capsys):
    lines = told(capsys, "25022601")
    for line in (
        "optimizer steps 3,890 3,890",
        "micro-steps (a process) 15,560 15,560",
        "U-Net 1,827,058,244 2,567,463,684 71.16%",
        "text encoder 1 115,971,072 123,060,480 94.24%",
        "text encoder 2 694,659,840 694,659,840 100.00%",
        "gradients 4.91",
    ):
        assert line in lines
    assert not any("buckets" in line for line in lines)
    assert any(line.startswith("fits: 18.") and "the launcher's header" in line for line in lines)
    assert any(line.startswith("1.917 9.0 h 9.0 h log of 25022601") for line in lines)


def test_a_segment_shows_its_part_and_the_record_of_the_whole(capsys):
    lines = told(capsys, "25031101")
    assert "optimizer steps 30,000 777,917" in lines
    assert "recorded for the 12.4M dataset: 777,917 optimizer steps in all" in lines
    assert any("1,061 h (44.2 days)" in line and "EPYC" in line for line in lines)


def test_gpus_and_args_win_as_in_a_launch(capsys):
    lines = told(capsys, "25022601", GPUS="2", ARGS="--unet_percent=80 --max_train_epochs=2 --seed=1")
    assert "optimizer steps 1,556 1,556" in lines  # 2 epochs of 6,224 images / (2 x 4)
    share = next(line for line in lines if line.startswith("U-Net")).split()[-1]
    assert float(share.removesuffix("%")) == pytest.approx(80, abs=0.05)
    assert "ARGS: the plan does not depend on --seed" in lines
    assert any(line.startswith("hours: no speed is recorded") for line in lines)


def test_machines_multiply_the_gpus(capsys):
    lines = told(capsys, "25022601", GPUS="2", NNODES="2")
    assert "optimizer steps 3,890 3,890" in lines
    assert any(line.startswith("10 epoch(s), 4 GPU(s)") for line in lines)


def test_sd2_is_planned_with_its_own_model(capsys):
    lines = told(capsys, "24122001")
    assert "U-Net 865,910,724 865,910,724 100.00%" in lines
    assert not any(line.startswith("text encoder 2") for line in lines)


def test_a_number_of_steps_stands_for_epochs():
    made = plan.read("25022601", {})
    _, whole = plan.counts_of(replace(made, run=replace(made.run, epochs=None, steps=1000)))
    # 389 steps an epoch of 1,556 micro-steps: two epochs, and 222 steps of the third.
    assert whole == steps.Counts(2 * 6224 + 222 * 16, 2 * 1556 + 222 * 4, 1000)


def test_a_card_that_is_too_small_gets_the_cheapest_change(capsys):
    lines = told(capsys, "25022601", ARGS="--unet_percent=100", VRAM="20")
    assert any(line.startswith("warning: does not fit: 21.") for line in lines)
    assert any(
        line.startswith("cheapest that fits (16.") and "on_nan,record_run,shard_optimizer" in line for line in lines
    )
    assert "cost: the weights travel once more an optimizer step; the same result" in lines
    lines = told(capsys, "25022601", ARGS="--ddp_gradients_as_upstream", VRAM="20")
    assert "gradient buckets (DDP) 4.91" in lines
    assert "cheapest that fits (18.4 GB): without --ddp_gradients_as_upstream" in lines
    lines = told(capsys, "25022601", VRAM="8")
    assert any(line.startswith("no change here fits; all together take") for line in lines)


def test_bf16_updates_is_planned_with_its_stand_ins(capsys):
    plugins = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"
    more = f"--unet_percent=100 --extensions={plugins},bf16_updates --bf16_updates=stochastic"
    lines = told(capsys, "25022601", ARGS=more, VRAM="20")
    assert any(line.startswith("optimizer step on fp32 stand-ins, for a moment 0.47") for line in lines)
    assert any(line.startswith("cheapest that fits") for line in lines)
    assert not any("deepspeed" in line for line in lines)


def test_the_whole_model_on_four_cards_of_24_gb_is_planned_below_20(capsys):
    plugins = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run,shard_optimizer"
    lines = told(capsys, "25022601", ARGS=f"--unet_percent=100 --extensions={plugins}")
    assert any(line.startswith("fits: 16.") and "24 GB" in line for line in lines)
    assert "weights on their way to other ranks 0.19" in lines


def test_a_stated_speed_and_card_are_taken_and_named(capsys):
    lines = told(capsys, "25022601", VRAM="80", IMG_S="10")
    assert any(line.startswith("fits: 18.") and line.endswith("80 GB (VRAM)") for line in lines)
    assert "10.000 1.7 h 1.7 h IMG_S" in lines


def test_what_is_recomputed_is_shown(capsys):
    def line_of(said, card):
        words = f"--extensions=unet_percent,dual_tag,token_chunks,recompute --recompute={said}"
        lines = told(capsys, "25022601", ARGS=words, VRAM=card)
        [line] = [line for line in lines if line.startswith(f"recompute={said}: ")]
        return line

    wide = line_of("auto", "48")
    assert "GB to spare (a run measures it): kept: 17 of 17 residual blocks, 70 of 70 transformer" in wide
    assert line_of("auto", "24").startswith("recompute=auto: 4.6 GB to spare")  # which gradients kept once have freed
    assert line_of("auto", "19").startswith("recompute=auto: 0.0 GB to spare")
    part = line_of("2.0", "24")
    assert "2.00 GB; computed again: " in part and "kept: 0 of" not in part
    assert not any(line.startswith("recompute") for line in told(capsys, "25022601"))


def test_own_images_are_counted_once_their_number_is_given(capsys):
    lines = told(capsys, "25022601", ARGS="--in_json=/data/mine.json")
    assert "images of /data/mine.json are not counted here; give IMAGES=" in lines
    lines = told(capsys, "25022601", ARGS="--in_json=/data/mine.json", IMAGES="1600")
    assert "optimizer steps 1,000 1,000" in lines


def test_another_optimizer_than_the_recorded_is_said(capsys):
    assert "these speeds were recorded with AdamW8bit, not with AdaFactor" in told(capsys, "25031502")
    lines = told(capsys, "25022601", ARGS="--optimizer_type=Prodigy")
    assert any("Prodigy is not in the table" in line for line in lines)


def test_what_is_not_modelled_leaves_steps_and_hours(capsys):
    lines = told(capsys, "25022301", ARGS="--zero_stage=1")
    assert "memory: not modelled for --zero_stage=1 (stage 2 is)" in lines
    assert "optimizer steps 3,890 3,890" in lines


def test_attention_is_that_of_a_launch():
    flags = plan.read("25022601", {"ARGS": "--sdpa"}).asked.flags
    assert "sdpa" in flags and "xformers" not in flags
    with pytest.raises(UserError, match="--mem_eff_attn and --sdpa exclude each other"):
        plan.read("25022601", {"ARGS": "--sdpa --mem_eff_attn"})


def test_a_blend_is_named_and_not_made(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path))
    words = '--pretrained_model_name_or_path="blend(base, 25022501,0.50)"'
    assert "base: blend(base, 25022501, 0.5), which the first launch makes" in told(capsys, "25022601", ARGS=words)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="is no blend; give blend"):
        told(capsys, "25022601", ARGS="--pretrained_model_name_or_path=blend(x)")
