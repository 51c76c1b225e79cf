"""States at intervals, at the end and when asked to stop; what is in the way of them."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from extensions import loop
from extensions.base import saving
from extensions.base.errors import NotFinite, Stopped, UserError
from extensions.flags import contradictions
from extensions.flags.words import Flags
from extensions.plugins import save_states
from extensions.resume import states, writer
from tests.helpers.small_trainer import Keys, flags, train


def steps_of(folder):
    return sorted(state.optimizer_steps for state in states.found(states.folder_of(folder))[0])


def test_the_newest_stay_and_the_end_is_saved(tmp_path):
    train(flags(tmp_path, states_every_n_steps=2, keep_states=3, max_train_steps=9))
    assert steps_of(tmp_path) == [6, 8, 9]
    train(flags(tmp_path / "0", states_every_n_steps=0, max_train_steps=3))
    assert steps_of(tmp_path / "0") == [3]


def test_a_state_says_what_it_is_and_holds_no_pickle(tmp_path):
    train(flags(tmp_path, max_train_steps=3))
    state = states.found(states.folder_of(tmp_path))[0][0]
    facts = state.facts
    assert (facts.optimizer_steps, facts.micro_steps, facts.samples, facts.seed) == (3, 6, 6, 11)
    assert facts.made_with["processes"] == 1 and facts.made_with["data"] == "13 images"
    assert {path.suffix for path in state.path.iterdir()} == {".json", ".safetensors"}
    assert (state.path / "state.json").stat().st_size < 10_000


def test_a_signal_finishes_the_step_and_saves(tmp_path, monkeypatch, capfd):
    def interrupt(optimizer_steps, loss, batch):
        if optimizer_steps == 3 and loop.current().micro_steps == 6:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # torchrun passes on what the whole group has received
        counted(optimizer_steps, loss, batch)

    counted = loop.micro_step_ended
    monkeypatch.setattr(loop, "micro_step_ended", interrupt)
    with pytest.raises(Stopped, match="stopped at optimizer step 4 as asked; RESUME=auto") as caught:
        train(flags(tmp_path))
    assert caught.value.code == 75 and steps_of(tmp_path) == [4]
    assert "SIGTERM: stopping after this optimizer step" in capfd.readouterr().out


def test_stopped_on_a_full_disk_it_does_not_promise_a_state(tmp_path, monkeypatch):
    def interrupt(optimizer_steps, loss, batch):
        os.kill(os.getpid(), signal.SIGTERM)
        counted(optimizer_steps, loss, batch)

    counted = loop.micro_step_ended
    monkeypatch.setattr(loop, "micro_step_ended", interrupt)
    monkeypatch.setattr(writer, "require_room_for_all", lambda *_: None)
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    with pytest.raises(Stopped, match="stopped at optimizer step 1 as asked; but this step could not be saved"):
        train(flags(tmp_path))


def test_a_second_signal_ends_at_once(tmp_path):
    code = (
        "import signal, time, os\n"
        "from extensions.plugins import save_states\n"
        "plugin = save_states.Plugin()\n"
        "signal.signal(signal.SIGTERM, plugin.asked_to_stop)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    time.sleep(save_states.ONE_REQUEST + 0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=10) == 128 + signal.SIGTERM


def test_a_spoiled_weight_is_not_saved_over_a_good_state(tmp_path, monkeypatch):
    def spoil(optimizer_steps, loss, batch):
        if optimizer_steps == 4:
            with torch.no_grad():
                loop.current().optimizer.param_groups[0]["params"][0][0, 0] = float("nan")
        counted(optimizer_steps, loss, batch)

    counted = loop.micro_step_ended
    monkeypatch.setattr(loop, "micro_step_ended", spoil)
    with pytest.raises(NotFinite, match="U-Net: 0.weight is not finite at optimizer step 4; no state saved"):
        train(flags(tmp_path, states_every_n_steps=2))
    assert steps_of(tmp_path) == [2]


@pytest.mark.parametrize(("every", "saved"), [(1, [1, 2]), (0, [])])
def test_metadata_that_were_overwritten_end_the_run(tmp_path, monkeypatch, every, saved):
    """Before the state after the third optimizer step; without states at the next epoch's begin, four steps later."""

    def untouched(self):
        if loop.current().optimizer_steps >= 3:
            raise UserError("overwritten")

    monkeypatch.setattr(Keys, "require_untouched", untouched)
    with pytest.raises(UserError, match="overwritten"):
        train(flags(tmp_path, states_every_n_steps=every))
    assert steps_of(tmp_path) == saved and loop.current().optimizer_steps == (3 if every else 7)


def test_a_full_disk_costs_the_state_and_not_the_run(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(writer, "require_room_for_all", lambda *_: None)
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 10}))
    assert train(flags(tmp_path, states_every_n_steps=3)).run.optimizer_steps == 8
    assert capsys.readouterr().out.count("no state saved at optimizer step") == 3
    assert steps_of(tmp_path) == []


def test_a_disk_that_is_too_small_is_told_before_the_first_step(tmp_path, monkeypatch):
    monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5000}))
    with pytest.raises(UserError, match="0.0 GB free, 3 training states take 0.0 GB; make room, or keep fewer"):
        train(flags(tmp_path))


def test_what_a_kill_has_left_of_a_checkpoint_is_gone_at_the_next_start(tmp_path):
    left = tmp_path / saving.UNDER_WAY
    left.mkdir()
    (left / ".tmpAbC123").write_bytes(b"half")
    train(flags(tmp_path, max_train_steps=1))
    assert not left.exists()


@pytest.mark.parametrize(
    ("words", "changed", "line"),
    [
        ([], dict(extensions="save_states"), "save_states needs resume_at_step, which orders the data; add it"),
        (["--states_every_n_steps=-1"], {}, "--states_every_n_steps: '-1' is not a whole number from 0 up"),
        (["--keep_states=0"], {}, "--keep_states: '0' is not a whole number from 1 up"),
        ([], dict(output_dir=None), "needs --output_dir"),
    ],
)
def test_refused(tmp_path, words, changed, line):
    with pytest.raises(UserError, match=line):
        train(flags(Path(tmp_path), *words, **changed))


def test_several_optimizers_in_one_are_refused():
    words = "--extensions=resume_at_step,save_states --fused_optimizer_groups=4 --optimizer_type=AdaFactor"
    with pytest.raises(UserError, match="--fused_optimizer_groups and the plugin save_states exclude each other"):
        contradictions.check(Flags.of_text(words), 1)
