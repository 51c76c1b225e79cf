"""Upstream's arithmetic of steps, held against the counts that the recorded runs ended with."""

import re

import pytest

from extensions.logbook import steps

# images, epochs, GPUs, accumulation -> optimizer steps in the recorded logs
RECORDED = {
    "24120801 as recorded, on the 6k dataset": (6224, 10, 1, 1, 62_240),
    "24121401": (6224, 10, 1, 1, 62_240),
    "24121901 as recorded, on 4 processes": (6224, 10, 4, 1, 15_560),
    "24122001 as recorded, 5 epochs": (6224, 5, 1, 1, 31_120),
    "25012801, 25022102, 25022103": (6224, 10, 4, 1, 15_560),
    "25022301 to 25030301": (6224, 10, 4, 4, 3_890),
    "2503c": (steps.IMAGES["12.4M"], 1, 4, 4, 777_917),
}


@pytest.mark.parametrize(("images", "epochs", "gpus", "accumulation", "expected"), RECORDED.values(), ids=RECORDED)
def test_recorded_counts(images, epochs, gpus, accumulation, expected):
    assert steps.count(images, epochs, gpus, 1, accumulation).optimizer_steps == expected


def test_every_possible_size_of_the_large_dataset_gives_the_same_steps():
    for images, expected in ((12_446_656, 777_916), (12_446_657, 777_917), (12_446_672, 777_917)):
        assert steps.count(images, 1, 4, 1, 4).optimizer_steps == expected


def test_each_epoch_is_rounded_up_by_itself():
    # 20 images on 4 processes are 5 micro-steps each: 2 optimizer steps an epoch, not 1.25.
    assert steps.count(20, 10, gpus=4, accumulation=4).optimizer_steps == 20


def test_samples_and_micro_steps_are_counted_apart():
    counts = steps.count(6224, 10, gpus=4, accumulation=4)
    assert (counts.samples, counts.micro_steps, counts.optimizer_steps) == (62_240, 15_560, 3_890)


def test_segments_add_up_to_the_schedule():
    borders = [0, 10_000, 40_000, 210_000]
    parts = [steps.segment(777_917, a, b) for a, b in zip(borders, [*borders[1:], None], strict=True)]
    assert parts == [10_000, 30_000, 170_000, 567_917]
    assert steps.segment(3_890, 10_000, 40_000) == 0


@pytest.mark.parametrize("wrong", [{"images": 0}, {"gpus": 0}, {"accumulation": 0}])
def test_nothing_below_one(wrong):
    with pytest.raises(ValueError, match="from 1 up"):
        steps.count(**{"images": 20, "epochs": 1, **wrong})


@pytest.mark.upstream
@pytest.mark.parametrize("script", ["sdxl_train.py", "fine_tune.py"])
def test_upstream_still_counts_this_way(script, pristine):
    text = re.sub(r"\s+", " ", (pristine / script).read_text(encoding="utf-8"))
    assert (
        "args.max_train_epochs * math.ceil( "
        "len(train_dataloader) / accelerator.num_processes / args.gradient_accumulation_steps )"
    ) in text


def test_a_schedule_reaches_its_counts_epoch_by_epoch():
    # 20 images, 4 GPUs, 4 micro-steps a step: 5 micro-steps an epoch, the second step has only one.
    reached = [steps.reached(step, 20, 4, 1, 4) for step in (0, 1, 2, 3)]
    assert [(c.samples, c.micro_steps) for c in reached] == [(0, 0), (16, 4), (20, 5), (36, 9)]
    whole = steps.count(6224, 10, 4, 1, 4)
    assert steps.reached(whole.optimizer_steps, 6224, 4, 1, 4) == whole
