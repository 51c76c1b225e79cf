"""Two launches do not train into one output folder. Real processes."""

import errno
import subprocess
import sys

import pytest

from extensions.base.errors import UserError
from extensions.launch import child, output_lock
from tests.helpers import asking

HOLD = """
import sys, time
from pathlib import Path
from extensions.launch import child, output_lock, asked as request
made = request.read(["25022601", "sdxl_train.py", f"--output_dir={sys.argv[1]}"], {})
with output_lock.in_output(made) as held:
    nap = "import time; print('held', flush=True); time.sleep(60)"
    child.run([sys.executable, "-c", nap], {}, Path(sys.argv[1]) / "log", held)
"""


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(output_lock, "SECONDS", 0.3)


def test_another_launch_is_refused_until_the_first_and_what_it_started_are_gone(tmp_path, quick):
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert first.stdout.readline() == "held\n"
    trainer = child.psutil.Process(first.pid).children()[0]
    for end in (first.kill, trainer.kill):  # the launcher dies, its training process goes on, then that ends too
        with pytest.raises(UserError, match="another launch trains into .*; stop it first") as caught, held(tmp_path):
            pass
        assert "\n" not in str(caught.value)
        end()
        first.wait()
    with held(tmp_path):
        pass


def held(output, **environment):
    return output_lock.in_output(asking.asked(f"--output_dir={output}", **environment))


def test_it_is_free_again_after_an_error(tmp_path, quick):
    with pytest.raises(KeyError), held(tmp_path):
        raise KeyError
    with held(tmp_path):
        pass


def test_other_machines_and_folders_that_cannot_be_written_are_left_to_others(tmp_path, quick):
    others = dict(NNODES="2", NODE_RANK="1", MASTER_ADDR="127.0.0.1")
    with held(tmp_path), held(tmp_path, **others):
        pass
    (tmp_path / "file").touch()
    with held(tmp_path / "file" / "below"):
        pass


@pytest.mark.parametrize("before", ["nothing", "a folder", "a model", "an old lock"])
def test_a_launch_that_is_refused_leaves_nothing(tmp_path, quick, before):
    output = tmp_path / "models" / "model_out_1"
    if before != "nothing":
        output.mkdir(parents=True)
    if before == "a model":
        (output / "last.safetensors").touch()
    if before == "an old lock":
        (output / output_lock.FILE).touch()
    with pytest.raises(UserError, match="no base"), held(output):
        assert (output / output_lock.FILE).is_file()
        raise UserError("no base; give one")
    found = sorted(path.name for path in tmp_path.rglob("*"))
    assert found == (
        []
        if before == "nothing"
        else sorted({"models", "model_out_1"} | ({"last.safetensors"} if before == "a model" else set()))
    )


def test_who_waited_for_a_lock_that_was_taken_away_holds_the_new_one(tmp_path, monkeypatch):
    """Else it and a third would train into the folder, each with a lock of its own."""
    taken, plain = [], output_lock.take

    def first_is_refused_meanwhile(file, output):
        if not taken:
            (output / output_lock.FILE).unlink()
        taken.append(file)
        plain(file, output)

    monkeypatch.setattr(output_lock, "take", first_is_refused_meanwhile)
    with held(tmp_path) as descriptors:
        assert len(taken) == 2 and output_lock.is_still(tmp_path / output_lock.FILE, descriptors[0])


def test_who_is_refused_for_another_launch_leaves_that_ones_lock(tmp_path, quick):
    with held(tmp_path):
        with pytest.raises(UserError, match="another launch"), held(tmp_path):
            pass
        assert (tmp_path / output_lock.FILE).is_file()


def test_a_full_disk_is_no_reason_to_do_without(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / ".launch.lock"))

    monkeypatch.setattr(output_lock.os, "open", full)
    with pytest.raises(UserError, match=r"launch.lock cannot be written \(No space left on device\)"), held(tmp_path):
        pass
