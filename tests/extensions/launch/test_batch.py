"""make batch: what it shows is what the run sees."""

import pytest

from extensions.errors import UserError
from extensions.launch import __main__ as launch
from extensions.launch import batch, request, tiny
from extensions.logbook.registry import ask
from extensions.paths import LAUNCHERS
from extensions.resume import skipped, states


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
    made = request.read(words, environment)
    tiny.apply(made)
    return made


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
    made.flags.drop("unet_percent", "token_chunks")
    with pytest.raises(UserError, match="does not list resume_at_step"):
        batch.opened(made)


def test_what_a_rollback_has_left_out_is_left_out(tmp_path):
    assert batch.passed_over(tmp_path) == {}
    temporary = states.begin(states.folder_of(tmp_path), 7)
    state = states.commit(temporary, {"optimizer_steps": 7, "skipped": [[1, 5]]}, {})
    assert batch.passed_over(tmp_path) == {1: 5}
    skipped.write(tmp_path, state, {1: 5, 3: 8})
    assert batch.passed_over(tmp_path) == {1: 5, 3: 8}
