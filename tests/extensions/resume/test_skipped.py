"""What a roll-back leaves out: by row where the data are the same, by id where they are not."""

import json
from types import SimpleNamespace

import pytest

from extensions.base.errors import UserError
from extensions.resume import skipped, states
from extensions.resume.description import Description
from tests.helpers.small_trainer import Keys


def data(*keys, fingerprint="data"):
    return SimpleNamespace(metadata=Keys(keys), fingerprint=fingerprint)


def state_of(output, entries):
    """A state with these entries, on disk."""
    temporary = states.begin(states.folder_of(output), 7)
    facts = Description(optimizer_steps=7, skipped=entries, made_with={"data": "data"})
    return states.commit(temporary, facts, {})


def test_what_is_written_is_read_again(tmp_path):
    images = data("a", "b", "c", "d")
    state = state_of(tmp_path, skipped.listed({3: 5}, images.metadata))
    skipped.write(tmp_path, state, skipped.listed({3: 5, 1: 7}, images.metadata))
    again = states.read(state.path)
    assert again.facts.skipped == [[3, 5, "d"]]
    assert skipped.of_state(again, tmp_path, images) == {3: 5, 1: 7}


def test_an_image_is_found_where_it_is_now(tmp_path, capsys):
    state = state_of(tmp_path, [[0, 4, "a"], [1, 5, "b"], [2, 6, "c"]])
    now = data("new", "b", "a", "c", fingerprint="other")
    assert skipped.of_state(state, tmp_path, now) == {2: 4, 1: 5, 3: 6}
    assert capsys.readouterr().out == ""


def test_what_is_gone_is_told_once_and_dropped(tmp_path, monkeypatch, capsys):
    state = state_of(tmp_path, [[number, 4, f"id{number}"] for number in range(8)])
    now = data("id7", fingerprint="other")
    assert skipped.of_state(state, tmp_path, now) == {0: 4}
    line = "roll-backs left out id0, id1, id2, id3, id4 and 2 more: not in these data, or not to be found; dropped\n"
    assert capsys.readouterr().out == line
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "1")
    assert skipped.of_state(state, tmp_path, now) == {0: 4}
    assert capsys.readouterr().out == ""


def test_rows_that_were_written_without_ids_hold_for_the_same_data_alone(tmp_path, capsys):
    state = state_of(tmp_path, [[2, 4]])
    file = states.folder_of(tmp_path) / skipped.FILE
    file.write_text(json.dumps({"written_ns": state.facts.written_ns, "rows": [[0, 7]]}))
    assert skipped.of_state(state, tmp_path, data("a", "b", "c")) == {2: 4, 0: 7}
    assert skipped.of_state(state, tmp_path, data("a", "b", "c", fingerprint="other")) == {}
    assert "row 2 of the data before (written without its id)" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "[]", '{"rows": [[1, 2, 3, 4]], "written_ns": %d}'])
def test_no_file_of_a_rollback(tmp_path, content):
    state = state_of(tmp_path, [])
    file = states.folder_of(tmp_path) / skipped.FILE
    file.write_text(content.replace("%d", str(state.facts.written_ns)))
    with pytest.raises(UserError, match="skipped.json is not what a roll-back writes; remove it"):
        skipped.of_state(state, tmp_path, data("a"))
