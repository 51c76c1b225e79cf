"""States written beside the training: a copy of the moment, one at a time, and no run lost to a disk."""

import errno
import shutil
import threading

import psutil
import pytest
import torch
from accelerate import Accelerator

from extensions.resume import parts, states, writer
from extensions.resume.description import Description


@pytest.fixture
def weight():
    return torch.zeros(1000)


@pytest.fixture
def made(tmp_path):
    return writer.Writer(tmp_path / "states", 2, Accelerator(cpu=True))


def save(made, weight, steps, wait=False):
    made.save(Description(optimizer_steps=steps), [("w.safetensors", lambda: {"w": weight})], [0], wait)


def test_the_copy_is_of_the_moment_even_if_training_goes_on(made, weight, monkeypatch):
    go_on, written = threading.Event(), parts.Part.write

    def slow(part, folder):
        go_on.wait(10)
        return written(part, folder)

    monkeypatch.setattr(parts.Part, "write", slow)
    save(made, weight, 1)
    weight += 1  # the next optimizer step
    assert made.thread.is_alive()
    go_on.set()
    made.join()
    assert parts.read(made.folder / "step00000001" / "w.safetensors")["w"].sum() == 0


def test_without_memory_for_copies_it_is_written_at_once(made, weight, monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: type("Memory", (), {"available": 100}))
    save(made, weight, 1)
    assert made.thread is None and states.newest_good(made.folder).optimizer_steps == 1


def test_only_the_newest_stay(made, weight):
    for steps in range(1, 6):
        save(made, weight, steps)
    made.join()
    assert sorted(path.name for path in made.folder.iterdir()) == ["step00000004", "step00000005"]


def test_an_old_state_that_cannot_be_removed_does_not_unsay_the_new_one(made, weight, monkeypatch, capsys):
    def busy(path):
        if path.exists():
            raise OSError(errno.EBUSY, "Device or resource busy", str(path))

    monkeypatch.setattr(states, "remove", busy)
    for steps in (1, 2, 3):
        save(made, weight, steps, wait=True)
    said = capsys.readouterr().out
    assert said.count("state saved: ") == 3 and "no state saved" not in said
    assert said.count("an older state cannot be removed: ") == 1 and "step00000001" in said.splitlines()[-1]


def test_a_disk_that_fills_leaves_the_last_good_state(made, weight, monkeypatch, capsys):
    save(made, weight, 1, wait=True)

    def full(part, folder):
        (folder / part.name).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(parts.Part, "write", full)
    save(made, weight, 2, wait=True)
    assert "no state saved at optimizer step 2: [Errno 28] No space left on device" in capsys.readouterr().out
    assert [path.name for path in made.folder.iterdir()] == ["step00000001"]


@pytest.mark.disk_size("400k")
@pytest.mark.parametrize("asked", [True, False], ids=["asked before", "filled by another meanwhile"])
def test_a_real_disk_that_is_too_small(small_disk, asked, monkeypatch, capsys):
    made = writer.Writer(small_disk / "states", 2, Accelerator(cpu=True))
    save(made, torch.zeros(40_000), 1, wait=True)
    if not asked:
        monkeypatch.setattr(writer, "require_room", lambda *_: None)
    save(made, torch.zeros(80_000), 2, wait=True)
    said = capsys.readouterr().out
    assert "no state saved at optimizer step 2: " in said and ("make room" if asked else "o space left") in said
    assert [path.name for path in made.folder.iterdir()] == ["step00000001"]
    states.verify(states.read(made.folder / "step00000001"))


def leave_half(made, name):
    """What a process that is killed while it writes or removes a state leaves: here, 200 kB."""
    (made.folder / name).mkdir(parents=True)
    (made.folder / name / "optimizer.safetensors").write_bytes(b"0" * 200_000)


@pytest.mark.disk_size("400k")  # two states of 160 kB, and not 200 kB beside them
@pytest.mark.parametrize("left", [".step00000007.part", ".step00000007.old.part"])
def test_what_a_kill_has_left_takes_no_room(small_disk, left, capsys):
    made = writer.Writer(small_disk / "states", 1, Accelerator(cpu=True))
    leave_half(made, left)
    writer.require_room_for_all(made, 160_000)  # at the next start
    leave_half(made, left)
    save(made, torch.zeros(40_000), 9, wait=True)
    save(made, torch.zeros(40_000), 10, wait=True)
    assert "no state saved" not in capsys.readouterr().out
    assert [path.name for path in made.folder.iterdir()] == ["step00000010"]


def test_what_cannot_be_removed_costs_no_state(made, weight, monkeypatch):
    leave_half(made, ".step00000007.part")
    monkeypatch.setattr(states.os, "rmdir", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EBUSY, "busy")))
    save(made, weight, 9, wait=True)
    assert states.newest_good(made.folder).optimizer_steps == 9


def test_room_is_asked_for_before_and_a_tenth_more(made, weight, monkeypatch, capsys):
    for free, said in ((4300, "no state saved at optimizer step 1: "), (4500, "state saved: ")):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, free=free: type("Usage", (), {"free": free}))
        save(made, weight, 1, wait=True)
        assert capsys.readouterr().out.startswith(said)
