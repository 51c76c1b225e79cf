"""make batch: what it shows is what the run sees."""

import json
import re

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.launch import __main__ as launch
from extensions.launch import asked as request
from extensions.launch import batch, tiny
from extensions.launch.stages import changed
from extensions.logbook.registry import ask
from extensions.resume import skipped, states
from extensions.resume.description import Description
from tests.helpers import npz_sets


@pytest.fixture
def asked(standins, tmp_path, monkeypatch):
    monkeypatch.setenv("OUTPUT", str(tmp_path))

    def of(run, step, **environment):
        words = ask(LAUNCHERS / f"{run}.sh")
        return [word.replace("$OUTPUT", str(tmp_path)) for word in words], {
            "PROFILE": "tiny",
            "STEP": step,
        } | environment

    return of


def opened(words, environment):
    return tiny.apply(request.read(words, environment))


def test_it_shows_ids_and_texts_of_every_micro_step(asked, monkeypatch, capsys):
    words, environment = asked("25022601", "7")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launch.main(words) == 0
    said = " ".join(capsys.readouterr().out.split())
    made = opened(words, environment)
    dataset = batch.opened(made)
    places = batch.Places(dataset, 0, 1, 4, {})
    epoch, step = divmod(6, places.steps)
    assert f"optimizer step 7 is step {step + 1} of {places.steps} in epoch {epoch + 1}" in said
    places.begin(epoch, step)
    keys = [dataset.metadata[row].key for micro_step in range(4) for row in places.at(step, micro_step).rows]
    assert len(set(keys)) == 4 and all(key in said for key in keys)


@pytest.mark.parametrize("step", ["0", "-3", "x"])
def test_no_such_step(asked, step):
    with pytest.raises(UserError, match=f"STEP={step} is not a whole number from 1 up"):
        opened(*asked("25022601", step))


def test_a_run_without_the_plugin_has_no_known_order(asked):
    words, environment = asked("25022601", "1")
    made = opened([word for word in words if "extensions=" not in word] + ["--extensions=dual_tag"], environment)
    made = changed(made, flags=made.flags.without("unet_percent", "token_chunks"))
    with pytest.raises(UserError, match="does not list resume_at_step"):
        batch.opened(made)


def shown(asked, capsys, run, step, *more, **variables):
    """Ids that `make batch` names, in order."""
    words, environment = asked(run, step, **variables)
    batch.show(opened([*words, *more], environment))
    return re.findall(r"^│ \d+ +│ \d+ +│ (\S+) +│", capsys.readouterr().out, re.MULTILINE)


def test_a_dealt_order_is_shown_as_it_is_trained(asked, capsys):
    """Four processes, accumulation 4: the same samples, those of a process from small to large."""
    drawn = shown(asked, capsys, "25022601", "2", GPUS="4")
    words, environment = asked("25022601", "2", GPUS="4")
    made = opened([*words, "--data_order=dealt"], environment)
    batch.show(made)
    said = capsys.readouterr().out
    assert "dealt by cost" in " ".join(said.split())
    lines = re.findall(r"^│ (\d+) +│ (\d+) +│ (\S+) +│ (\d+)x(\d+)", said, re.MULTILINE)
    assert sorted(key for _, _, key, *_ in lines) == sorted(drawn) and [key for _, _, key, *_ in lines] != drawn
    for process in "0123":
        areas = [int(width) * int(height) for _, rank, _, width, height in lines if rank == process]
        assert len(areas) == 4 and areas == sorted(areas)
    places = batch.Places(batch.opened(made), 1, 4, 4, {}, 0, "dealt")
    places.begin(0, 1)
    keys = [places.dataset.metadata[row].key for micro_step in range(4) for row in places.at(1, micro_step).rows]
    assert keys == [key for _, rank, key, *_ in lines if rank == "1"]


def keep_state(folder, **facts):
    temporary = states.begin(states.folder_of(folder), 7)
    return states.commit(temporary, Description(**{"optimizer_steps": 7, "data_steps": 7} | facts), {})


def test_what_a_rollback_has_left_out_is_left_out(asked, tmp_path, capsys):
    planned = shown(asked, capsys, "25022601", "8")
    images = batch.opened(opened(*asked("25022601", "8")))
    row = next(row for row in range(23) if images.metadata[row].key == planned[0])
    output = tmp_path / "model_out_25022601"
    state = keep_state(output, skipped=[[row, 3]], made_with={"data": images.fingerprint})  # before ids were kept
    carried = shown(asked, capsys, "25022601", "8")
    assert planned[0] not in carried and len(carried) == len(planned) == 4
    other = next(row for row in range(23) if images.metadata[row].key == planned[1])
    skipped.write(output, state, skipped.listed({row: 3, other: 3}, images.metadata))
    assert not set(planned[:2]) & set(shown(asked, capsys, "25022601", "8"))


def test_steps_that_count_as_done_have_seen_no_data(asked, tmp_path, capsys):
    first = shown(asked, capsys, "25022601", "1")
    counted = ("--initial_step=5", "--max_train_steps=9")
    assert shown(asked, capsys, "25022601", "6", *counted) == first
    with pytest.raises(UserError, match="the data of 25022601 begin at optimizer step 6; give STEP= from there"):
        shown(asked, capsys, "25022601", "5", *counted)
    skips = (*counted, "--skip_until_initial_step")
    assert shown(asked, capsys, "25022601", "6", *skips) != first
    keep_state(tmp_path / "model_out_25022601", data_steps=2)  # the run itself began so, whatever the flags say now
    assert shown(asked, capsys, "25022601", "6", *skips) == first


def test_a_step_after_the_end(asked, capsys):
    with pytest.raises(UserError, match="25022601 ends at optimizer step 8; give STEP= up to that"):
        shown(asked, capsys, "25022601", "9")


def test_tags_of_a_score_are_shown(asked, tmp_path, capsys):
    meta, data = npz_sets.make(tmp_path / "scored", 8)
    entries = json.loads(meta.read_text())
    for number, entry in enumerate(entries.values()):
        entry["score"] = number / 8
    meta.write_text(json.dumps(entries))
    flags = "--dual_tag=tags --dual_tag_score_field=score"
    words, environment = asked("25022601", "1", ARGS=f"--in_json={meta} --train_data_dir={data} {flags}")
    with pytest.raises(UserError, match="the field score has numbers; say from which on there is which tag"):
        batch.show(opened(words, environment))
    environment["ARGS"] += " --dual_tag_score_tags=0.5=good,0=bad"
    batch.show(opened(words, environment))
    found = re.findall(r"id(\d) +│ \S+ +│ (\w+), tag(\d)", capsys.readouterr().out)
    assert len(found) == 4 and all((tag == "good") == (int(one) >= 4) and one == other for one, tag, other in found)
