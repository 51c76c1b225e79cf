"""States that two processes write together: what one cannot write, the other does not wait for."""

import json
import subprocess
import sys
import threading
import time

import pytest

from extensions.base.errors import UserError
from extensions.resume import process_notes, states

# Each step is a state that process 1 fails to write in another way, then one that is written. ROOM: whether the disk
# is asked before.
TWO = """
import errno, pathlib, sys, time
import torch
from accelerate import Accelerator
from extensions.resume import parts, process_notes, writer
from extensions.resume.description import Description
process_notes.VISIBLE = 0
made = Accelerator(cpu=True)
me, written = made.process_index, parts.Part.write
states = writer.Writer(pathlib.Path(sys.argv[1]) / "states", 2, made)

def save(step, count, facts=None):
    began = time.monotonic()
    value = [(f"optimizer-{me}.safetensors", lambda: {"w": torch.full((count,), float(step))})]
    states.save(Description(optimizer_steps=step), value, [0, 1], wait=True)
    states.join()
    made.wait_for_everyone()
    if me == 0:
        print(f"step {step}: {time.monotonic() - began:.0f} s", flush=True)

save(1, 10_000)
save(2, 60_000 if me else 40_000)        # 400 kB in all, where 360 are free: refused before
room, writer.require_room = writer.require_room, lambda *_: None
parts.Part.write = lambda part, folder: (time.sleep(me), written(part, folder))[1]
save(3, 90_000 if me else 10_000)        # process 1 fills the disk, when process 0 has written
parts.Part.write = lambda part, folder: written(part, folder if me == 0 else folder / "not here")
save(4, 10)
parts.Part.write = lambda part, folder: written(part, folder if me else folder / "not here")
save(5, 10)                              # process 0 itself
parts.Part.write = written
seen, process_notes.seen = process_notes.seen, lambda folder: me == 0
save(6, 10)                              # a machine that does not share the disk
process_notes.seen = seen
save(7, 10_000)
made.end_training()
"""


@pytest.mark.disk_size("440k")
def test_what_one_of_two_cannot_write_costs_a_state_and_no_time(small_disk, tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(tmp_path / "two.py"), str(small_disk)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("no state saved at optimizer step ")]
    assert done.returncode == 0, done.stderr[-3000:]
    assert [line.split(": ", 1)[0][-1] for line in said] == list("23456")
    assert "0.0 GB free" in said[0] and "make room" in said[0]
    assert "process 1 could not write its files: " in said[1] and "o space left on device" in said[1]
    assert "process 1 could not write its files: " in said[2] and "not here" in said[2]
    assert "not here" in said[3] and "process 1" not in said[3]
    assert "process 1: no " in said[4] and "all machines need the same output folder" in said[4]
    seconds = [int(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("step ")]
    assert len(seconds) == 7 and max(seconds) <= 5
    kept = [states.read(small_disk / "states" / name) for name in ("step00000001", "step00000007")]
    assert sorted(path.name for path in (small_disk / "states").iterdir()) == [state.path.name for state in kept]
    for state in kept:
        states.verify(state)
        assert state.facts.files.keys() == {"optimizer-0.safetensors", "optimizer-1.safetensors"}


# Process 0 takes longer for each state than the processes may wait for each other in one call.
SLOW = """
import pathlib, sys, time
from datetime import timedelta
import psutil, torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs
from extensions.resume import parts, writer
from extensions.resume.description import Description
writer.TURN = 0.5
made = Accelerator(cpu=True, kwargs_handlers=[InitProcessGroupKwargs(timeout=timedelta(seconds=3))])
me, written = made.process_index, parts.Part.write
parts.Part.write = lambda part, folder: (time.sleep(5), written(part, folder))[1]
states = writer.Writer(pathlib.Path(sys.argv[1]) / "states", 4, made)

def save(step, wait):
    value = [("U-Net.safetensors", lambda: {"w": torch.ones(10)})] if me == 0 else []
    states.save(Description(optimizer_steps=step), value, [0], wait)

save(1, wait=True)
made.wait_for_everyone()
save(2, wait=False)
save(3, wait=False)     # waits for the one before
writer.settle()         # as on_nan does
made.wait_for_everyone()
if me == 0:
    psutil.virtual_memory = lambda: type("Memory", (), {"available": 10})
save(4, wait=False)     # no room for copies on process 0
made.wait_for_everyone()
made.end_training()
"""


def test_a_slow_disk_ends_no_process_that_waits(tmp_path):
    (tmp_path / "slow.py").write_text(SLOW)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(tmp_path / "slow.py"), str(tmp_path)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("state saved: ") == 4


def test_a_failure_is_seen_while_another_process_is_still_writing(tmp_path):
    process_notes.leave(tmp_path, 3, {"error": "[Errno 28] No space left on device"})
    with pytest.raises(UserError, match="process 3 could not write its files: .Errno 28. No space left"):
        process_notes.gathered(tmp_path, [1, 2, 3])


def test_an_empty_note_is_what_a_full_disk_has_room_for(tmp_path):
    (tmp_path / "process-1.json").touch()
    with pytest.raises(UserError, match="process 1 could not write its files: no room on the disk"):
        process_notes.gathered(tmp_path, [1])


@pytest.mark.disk_size("64k")
def test_a_note_on_a_full_disk(small_disk):
    (small_disk / "filler").write_bytes(b"0" * (64 << 10))
    process_notes.leave(small_disk, 1, {"error": "No space left on device"})
    with pytest.raises(UserError, match="process 1 could not write its files"):
        process_notes.gathered(small_disk, [1])


def test_a_wait_is_told_once_and_ends_when_all_have_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(process_notes, "SAID_AFTER", 0.1)

    def late():
        time.sleep(0.5)
        for process in (1, 2):
            process_notes.leave(
                tmp_path, process, {"files": {f"optimizer-{process}.safetensors": {"bytes": process}}}
            )

    thread = threading.Thread(target=late)
    thread.start()
    found = process_notes.gathered(tmp_path, [1, 2])
    thread.join()
    assert found == {f"optimizer-{n}.safetensors": {"bytes": n} for n in (1, 2)} and not list(tmp_path.iterdir())
    said = capsys.readouterr().out
    assert said.count("waiting for the files of processes 1, 2, at most 500 s") == said.count("\n") == 1


def test_a_process_that_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(process_notes, "PATIENCE", 0.1)
    (tmp_path / "process-1.json").write_text(json.dumps({"files": {}}))
    with pytest.raises(UserError, match="process 3 did not write within 0.1 s"):
        process_notes.gathered(tmp_path, [1, 3])
