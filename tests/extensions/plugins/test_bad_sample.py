"""Counting what was skipped: an id once, a line an id, a list, a limit."""

import errno
from types import SimpleNamespace

import pytest

from extensions.base.errors import UserError
from extensions.data import DATASET
from extensions.plugins import bad_sample
from tests.helpers.plugin_flags import parsed


def flags(*words, **more):
    return parsed("bad_sample", *words, **{"dataset_class": DATASET} | more)


def plugin(*words, process=0, **more):
    made = bad_sample.Plugin()
    made.check_arguments(flags("--bad_sample=skip", *words, **more))
    made.training_begins(SimpleNamespace(accelerator=SimpleNamespace(process_index=process)))
    return made


def ended(made, others: bool = False):
    """The end of an optimizer step, as the loop tells it. others: whether another process has new ids."""
    reported = {name: mine or others for name, mine in (made.step_reports() or {}).items()}
    made.optimizer_step_ended(SimpleNamespace(accelerator=SimpleNamespace(num_processes=1), reported=reported))


def step(made, *batches):
    """An optimizer step of so many micro-steps."""
    for each in batches:
        made.micro_step_ended(each)
    ended(made)


def batch(*keys):
    return {"skipped_keys": list(keys), "skipped_reasons": [f"{key}.npz is corrupt (cut)" for key in keys]}


def test_an_id_is_told_and_listed_once_however_often_it_is_met(tmp_path, capsys):
    made = plugin(run_folder=tmp_path / "run")
    for keys in ([], ["a", "b"], ["a"], ["c"]):
        made.micro_step_ended(batch(*keys))
    said = capsys.readouterr().out.splitlines()
    assert [line.split(":", 1)[1].split()[1] for line in said] == ["'a'", "'b'", "'c'"]
    assert said[0] == "bad_sample: skipped 'a' (process 0): a.npz is corrupt (cut)"
    listed = tmp_path / "run" / "bad_samples.txt"
    assert listed.read_text() == "a\nb\nc\n"
    made.run_ended()
    assert capsys.readouterr().out == (
        f"bad_sample: process 0 skipped 3 corrupt samples, 4 times; listed in {listed}\n"
    )


def test_processes_share_one_list(tmp_path):
    for process, keys in enumerate((["a", "b"], ["b", "c"])):
        plugin(process=process, run_folder=tmp_path).micro_step_ended(batch(*keys))
    assert (tmp_path / "bad_samples.txt").read_text() == "a\nb\nc\n"


def test_more_than_the_limit_ends_the_run():
    made = plugin("--bad_sample_limit=2")
    step(made, batch("a"), batch("b"))
    step(made, batch("a", "b"))
    with pytest.raises(UserError, match="3 corrupt samples, more than --bad_sample_limit=2; .*make check-data"):
        step(made, batch("a"), batch("c"))


def test_the_limit_unless_given():
    made = plugin()
    step(made, batch(*map(str, range(100))))
    with pytest.raises(UserError, match="101 corrupt"):
        step(made, batch("more"))


def test_what_the_processes_have_met_counts_together(monkeypatch):
    """Two processes, two ids each, one of them the same: three, and both end."""
    pair = [plugin("--bad_sample_limit=2", process=number) for number in range(2)]
    for made, keys in zip(pair, (("a", "b"), ("b", "c")), strict=True):
        made.micro_step_ended(batch(*keys))
    told = [list(made.untold) for made in pair]
    monkeypatch.setattr(bad_sample, "from_all", lambda _, value: told)
    for made in pair:
        with pytest.raises(UserError, match="3 corrupt samples, more than --bad_sample_limit=2"):
            ended(made)


def test_a_process_without_new_ids_ends_with_the_others(monkeypatch):
    made = plugin("--bad_sample_limit=1")
    monkeypatch.setattr(bad_sample, "from_all", lambda _, value: [value, ["a", "b"]])
    ended(made)
    with pytest.raises(UserError, match="2 corrupt samples, more than --bad_sample_limit=1"):
        ended(made, others=True)


def test_stop_reports_nothing():
    made = bad_sample.Plugin()
    made.check_arguments(flags("--bad_sample=stop"))
    assert made.step_reports() is None
    ended(made)


def test_nothing_skipped_nothing_said(capsys, tmp_path):
    made = plugin(run_folder=tmp_path)
    made.micro_step_ended({})
    made.micro_step_ended(batch())
    made.run_ended()
    assert capsys.readouterr().out == "" and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "count"),
    [
        ([], 0),
        (["--bad_sample=stop"], 0),
        (["--bad_sample=skip"], 100),
        (["--bad_sample=skip", "--bad_sample_limit=7"], 7),
    ],
)
def test_how_many_the_data_set_may_pass_over(words, count):
    assert bad_sample.Plugin().corrupt_samples_passed(flags(*words)) == count


@pytest.mark.parametrize(
    ("words", "more", "said"),
    [
        (["--bad_sample_limit=3"], {}, "--bad_sample_limit has no effect with --bad_sample=stop"),
        (["--bad_sample=skip"], {"dataset_class": "some.Other"}, f"needs --dataset_class={DATASET}"),
    ],
)
def test_contradictions(words, more, said):
    with pytest.raises(UserError, match=said):
        bad_sample.Plugin().check_arguments(flags(*words, **more))


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--bad_sample_limit=0", "--bad_sample_limit: '0' is not a whole number from 1 up"),
        ("--bad_sample=pass", "--bad_sample: invalid choice: 'pass'"),
    ],
)
def test_values_that_are_none(word, said):
    with pytest.raises(UserError, match=said):
        flags(word)


def test_a_full_disk_ends_the_run_in_a_line(tmp_path, monkeypatch):
    made = plugin(run_folder=tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(made, "add", full)
    with pytest.raises(UserError, match=r"bad_samples.txt cannot be written \(.*\); make room, then RESUME=auto"):
        made.micro_step_ended(batch("a"))
