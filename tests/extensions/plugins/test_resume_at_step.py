"""Run j steps, stop, run the rest: the same batches, losses and weights, for every j; and what is refused."""

import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.plugins import resume_at_step
from extensions.resume import same_start, states
from extensions.resume.description import Description, State
from tests.helpers.small_trainer import flags, same, train


def resumed(folder, step, **changed):
    """Flags that go on from the state after `step`."""
    path = states.folder_of(folder) / states.name_of(step)
    return flags(folder / "second", resume_mode="exact", resume_from=path, **changed)


@given(
    images=st.integers(1, 24),
    batch_size=st.integers(1, 3),
    accumulation=st.sampled_from([1, 2, 4]),
    steps=st.integers(2, 12),
    workers=st.sampled_from([0, 0, 0, 2]),
    data=st.data(),
)
@settings(max_examples=40)
def test_stopped_anywhere_it_goes_on_as_if_it_had_not_been(images, batch_size, accumulation, steps, workers, data):
    shape = dict(
        in_json=str(images), train_batch_size=batch_size, gradient_accumulation_steps=accumulation,
        max_train_steps=steps, max_data_loader_n_workers=workers, persistent_data_loader_workers=workers > 0,
    )  # fmt: skip
    stop = data.draw(st.integers(1, steps - 1))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        whole = train(flags(folder / "whole", **shape))
        first = train(flags(folder, stop_at_step=stop, **shape))
        second = train(resumed(folder, stop, **shape))
    assert first.seen + second.seen == whole.seen and first.losses + second.losses == whole.losses
    assert same(second.weights, whole.weights)
    assert whole.run.samples == sum(len(keys) for _, keys in whole.seen)
    run, unbroken = second.run, whole.run
    counters = [(r.optimizer_steps, r.micro_steps, r.samples, r.learning_rates()) for r in (run, unbroken)]
    assert counters[0] == counters[1]


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adagrad, torch.optim.NAdam])
def test_whatever_the_optimizer_keeps_is_kept(tmp_path, optimizer):
    whole = train(flags(tmp_path / "whole", optimizer=optimizer))
    train(flags(tmp_path, optimizer=optimizer, stop_at_step=5))
    assert same(train(resumed(tmp_path, 5, optimizer=optimizer)).weights, whole.weights)


@pytest.mark.parametrize("accumulation", [1, 4])
@pytest.mark.parametrize("start", range(1, 9))
def test_with_weights_alone_counter_schedule_and_data_go_on(tmp_path, start, accumulation):
    shape = dict(gradient_accumulation_steps=accumulation, max_train_steps=9, in_json="10")
    whole = train(flags(tmp_path, **shape))
    rest = train(flags(tmp_path, initial_step=start, skip_until_initial_step=True, **shape))
    assert rest.seen == whole.seen[start * accumulation :]
    assert rest.run.optimizer_steps == 9 and rest.run.learning_rates() == whole.run.learning_rates()


def test_without_skip_the_data_begin_again_and_a_resume_stays_with_that(tmp_path):
    whole = train(flags(tmp_path / "whole"))
    rest = train(flags(tmp_path / "rest", initial_step=3))
    assert rest.seen == whole.seen[: len(rest.seen)] and rest.run.optimizer_steps == 8
    first = train(flags(tmp_path, initial_step=3, stop_at_step=6))
    second = train(resumed(tmp_path, 6))
    assert first.seen + second.seen == rest.seen and same(second.weights, rest.weights)


class Cosine(torch.optim.lr_scheduler.CosineAnnealingLR):
    """Each rate follows from the one before: nothing to be set."""

    def __init__(self, optimizer, _rule):
        super().__init__(optimizer, T_max=9)


@pytest.mark.parametrize("schedule", [torch.optim.lr_scheduler.LambdaLR, Cosine])
def test_a_schedule_is_forwarded_however_it_computes(tmp_path, schedule):
    whole = train(flags(tmp_path, schedule=schedule))
    rest = train(flags(tmp_path, schedule=schedule, initial_step=5, skip_until_initial_step=True))
    assert rest.run.learning_rates() == whole.run.learning_rates()


def test_processes_that_would_start_apart(monkeypatch):
    """A machine that does not see the states would begin at 0 while the others go on."""
    main = (700, 123, "data")
    monkeypatch.setattr(same_start, "from_all", lambda _, mine: [main, main, mine])
    with pytest.raises(UserError, match=r"start apart \(process 2 at optimizer step 0, process 0 at 700\)"):
        same_start.require(None, 0, None, "data")
    state, other = (State(Path("s"), Description(optimizer_steps=700, written_ns=written)) for written in (123, 124))
    same_start.require(None, 700, state, "data")
    with pytest.raises(UserError, match="start apart"):
        same_start.require(None, 700, other, "data")


def test_processes_that_opened_other_data(tmp_path, monkeypatch):
    """Metadata that were replaced while the processes started, or another file on another machine."""
    monkeypatch.setattr(same_start, "from_all", lambda _, mine: [mine, (*mine[:2], "13 others"), mine])
    with pytest.raises(
        UserError, match="other images or texts than process 0 has were opened by process 1: "
    ) as caught:
        train(flags(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (dict(initial_step=5, stop_at_step=5), "--stop_at_step=5 is not after"),
        (dict(skip_until_initial_step=True), "nothing to skip"),
        (dict(initial_step=8), "nothing is left to train"),
        (dict(resume_mode="exact"), "needs --resume_from"),
        (dict(dataset_class="library.train_util.DreamBoothDataset"), "orders the data of one data set"),
        (dict(resume_from=Path("x")), "needs --resume_mode=exact"),
        (dict(resume_mode="exact", resume_from=Path("nowhere")), "is not a training state"),
    ],
)
def test_impossible_steps(tmp_path, changed, line):
    with pytest.raises(UserError, match=line) as caught:
        train(flags(tmp_path, **changed))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("flag", ["initial_step", "stop_at_step"])
@pytest.mark.parametrize("value", ["-1", "1e3", "all", ""])
def test_a_step_that_is_no_number(tmp_path, flag, value):
    with pytest.raises(UserError, match=f"--{flag}: '{value}' is not a whole number from 0 up"):
        flags(tmp_path, f"--{flag}={value}")


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        (dict(in_json="14"), "other data: 13 images there, 14 images here.*--resume_allow=data"),
        (dict(gradient_accumulation_steps=4), "other flags: gradient_accumulation_steps is 2 there, 4 here"),
        (dict(data_order="dealt"), "other flags: data_order is not set there, dealt here; .*--resume_allow=flags"),
        (dict(initial_step=3), "was saved after optimizer step 4; drop --initial_step"),
        (dict(stop_at_step=4), "--stop_at_step=4 is not after"),
        (dict(resume_allow="dta"), "--resume_allow=dta is unknown"),
        (dict(max_train_steps=4, resume_allow="flags"), "nothing is left to train"),
    ],
)
def test_what_the_state_was_not_made_with_is_named(tmp_path, changed, line):
    train(flags(tmp_path, stop_at_step=4))
    with pytest.raises(UserError, match=line) as caught:
        train(resumed(tmp_path, 4, **changed))
    assert "\n" not in str(caught.value)


def test_what_is_known_at_the_launch_is_refused_before_anything_loads(tmp_path, monkeypatch):
    train(flags(tmp_path, stop_at_step=4))
    with pytest.raises(UserError, match="other flags: gradient_accumulation_steps is 2 there, 4 here"):
        resume_at_step.Plugin().check_arguments(resumed(tmp_path, 4, gradient_accumulation_steps=4))
    monkeypatch.setenv("WORLD_SIZE", "2")
    resume_at_step.Plugin().check_arguments(resumed(tmp_path, 4))  # some clusters set it for every program
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(UserError, match="other processes: 1 there, 2 here"):
        resume_at_step.Plugin().check_arguments(resumed(tmp_path, 4))


def test_a_difference_can_be_allowed_by_name(tmp_path):
    train(flags(tmp_path, stop_at_step=4))
    assert train(resumed(tmp_path, 4, in_json="14", resume_allow="data")).run.optimizer_steps == 8
    # Where things lie and how fast they are read makes no difference.
    moved = resumed(tmp_path, 4, max_data_loader_n_workers=1, save_every_n_steps=3)
    assert train(moved).run.optimizer_steps == 8


def test_the_order_may_change_where_that_is_allowed(tmp_path, capsys):
    """One process has nothing to deal: it trains what it would have, in the same order."""
    whole = train(flags(tmp_path / "whole"))
    train(flags(tmp_path, stop_at_step=4, data_order="dealt"))
    with pytest.raises(UserError, match="other flags: data_order is dealt there, not set here"):
        train(resumed(tmp_path, 4))
    assert same(train(resumed(tmp_path, 4, resume_allow="flags")).weights, whole.weights)
    assert "--resume_allow=flags: data_order is dealt there, not set here" in capsys.readouterr().out
    kept = states.read(states.folder_of(tmp_path) / states.name_of(4)).facts.made_with["flags"]
    assert kept["data_order"] == "dealt"


def test_there_are_two_orders(tmp_path):
    with pytest.raises(UserError, match=r"--data_order: invalid choice: 'by_size' .*'as_drawn', 'dealt'"):
        flags(tmp_path, "--data_order=by_size")


def again(folder, step, **changed):
    """Flags that go on in the run's own folder."""
    path = states.folder_of(folder) / states.name_of(step)
    return flags(folder, resume_mode="exact", resume_from=path, **changed)


@pytest.mark.parametrize("stop", [3, 6])  # amid an epoch of six optimizer steps, and at its end
def test_a_run_that_left_no_last_checkpoint_comes_to_its_end_again(tmp_path, stop):
    first = train(flags(tmp_path, stop_at_step=stop))
    once_more = train(again(tmp_path, stop, stop_at_step=stop))
    assert once_more.seen == [] and same(once_more.weights, first.weights)
    (tmp_path / "last.safetensors").touch()
    with pytest.raises(UserError, match=f"--stop_at_step={stop} is not after"):
        train(again(tmp_path, stop, stop_at_step=stop))
    with pytest.raises(UserError, match="nothing is left to train"):
        train(again(tmp_path, stop, max_train_steps=stop, resume_allow="flags"))


def test_an_epoch_that_left_no_checkpoint_is_come_to_again(tmp_path):
    shape = dict(in_json="12", save_every_n_epochs=1, max_train_steps=13)  # epochs of six optimizer steps
    whole = train(flags(tmp_path / "whole", **shape))
    assert whole.saved == [(1, 6), (2, 12)]
    train(flags(tmp_path, stop_at_step=6, **shape))
    second = train(again(tmp_path, 6, **shape))
    assert second.saved == whole.saved and same(second.weights, whole.weights)
    assert second.seen == [place for place in whole.seen if place[0]]
    (tmp_path / "epoch-000001.safetensors").touch()
    assert train(again(tmp_path, 6, **shape)).saved == whole.saved[1:]


@pytest.mark.parametrize("changed", [dict(stop_at_step=8), dict(initial_step=3, max_train_steps=11)])
def test_half_an_epoch_is_not_called_one(tmp_path, changed):
    """Counted from 3 without a skip, the data of optimizer step 11 are the eighth's."""
    found = train(flags(tmp_path, in_json="12", save_every_n_epochs=1, **{"max_train_steps": 20} | changed))
    assert [epoch for epoch, _ in found.saved] == [1]
