"""A tracker whose disk is full ends alone: TensorBoard itself on a full device, and one of ours that fails."""

import errno
import threading
from types import SimpleNamespace

import pytest
from accelerate import Accelerator
from accelerate.tracking import TensorBoardTracker
from torch.utils.tensorboard import SummaryWriter

from extensions.base.errors import UserError
from extensions.trainer import tracking


class Tracker:
    """Fails from its second log on; finish fails, too."""

    name = "wandb"

    def __init__(self, error):
        self.error, self.heard, self.finished = error, [], 0

    def log(self, values, step=None):
        self.heard.append(values)
        if len(self.heard) > 1:
            raise self.error

    def finish(self):
        self.finished += 1
        raise self.error


FULL = OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("error", [FULL, BrokenPipeError(errno.EPIPE, "Broken pipe"), OSError("gone\nfor ever")])
def test_it_is_told_once_and_hears_nothing_more(error, capsys):
    made = Tracker(error)
    tracking.lasting(made)
    for step in range(5):
        made.log({"loss": 1.0}, step=step)
    made.finish()
    assert len(made.heard) == 2 and made.finished == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("wandb cannot write its log (") and line.endswith(": it ends here, the run goes on")


def test_a_fault_that_is_no_disks_passes():
    made = Tracker(KeyError("ours"))
    tracking.lasting(made)
    made.log({})
    with pytest.raises(KeyError):
        made.log({})


def test_what_cannot_begin_is_refused():
    def init_trackers(accelerator, name):
        accelerator.trackers = [Tracker(FULL)]
        raise FULL

    accelerator = SimpleNamespace(logging_dir="/logs", trackers=[])
    with pytest.raises(
        UserError, match=r"--log_with: wandb cannot begin its log in /logs \(No space left on device\)"
    ):
        tracking.begun(init_trackers)(accelerator, "finetuning")


def test_tensorboard_s_own_thread(tmp_path, monkeypatch, capfd):
    """Its event file becomes a link to a device that is full."""
    others = []
    monkeypatch.setattr(threading, "excepthook", tracking.of_threads(others.append))
    made = TensorBoardTracker("run", tmp_path)
    made.writer = SummaryWriter(tmp_path / "run")
    tracking.lasting(made)
    made.log({"loss": 1.0}, step=1)
    (events,) = (tmp_path / "run").iterdir()
    events.unlink()
    events.symlink_to("/dev/full")
    for step in range(2, 30):
        made.log({"loss": 1.0}, step=step)
    made.finish()
    said = capfd.readouterr()
    assert said.out.count("tensorboard cannot write its log (No space left on device)") == 1
    assert "Traceback" not in said.err and others == []

    def fault():
        raise KeyError("ours")

    thread = threading.Thread(target=fault)
    thread.start()
    thread.join()
    assert [each.exc_type for each in others] == [KeyError]


def test_it_is_installed_once(monkeypatch):
    monkeypatch.setattr(Accelerator, "init_trackers", Accelerator.init_trackers)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    tracking.install()
    made, hook = Accelerator.init_trackers, threading.excepthook
    tracking.install()
    assert Accelerator.init_trackers is made and threading.excepthook is hook
