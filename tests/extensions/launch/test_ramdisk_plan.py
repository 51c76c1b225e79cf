"""What DRY_RUN=1 says of RAMDISK=1: what a launch would then do, while nothing is made."""

import pytest

from extensions.launch import memory, ramdisk_plan
from tests.helpers.ramdisk_cases import LATENTS, contents, launch, stage


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(ramdisk_plan, "room", lambda _: memory.Room(1 << 20, 100))


def test_what_would_be_copied_is_what_is_copied(inputs, root):
    before = contents_of(inputs)
    said = ramdisk_plan.told(launch(inputs))
    assert f"would copy 3 files, 0.0 MiB, to {root}; " in said and "meta.json.index.arrow is not there yet" in said
    assert contents_of(inputs) == before and not root.parent.exists()
    made = stage(inputs)
    assert "copied" in made.notes[0]
    assert ramdisk_plan.told(launch(inputs)) == f"RAMDISK=1: would read what is already in {root}"


def contents_of(folder):
    return contents(folder / "latents") | {path.name: b"" for path in folder.iterdir()}


def test_the_folder_as_others_read_it(inputs, root):
    assert f"would copy 5 files, 0.0 MiB, to {root}" in ramdisk_plan.told(launch(inputs, LATENTS[:15] + "=a.Other"))


def test_too_little_room_and_no_tmpfs(inputs, root, tmp_path, monkeypatch):
    monkeypatch.setattr(ramdisk_plan, "room", lambda _: memory.Room(100, 100))
    assert "more than the 0.0 MiB to spare; would read from disk" in ramdisk_plan.told(launch(inputs))
    monkeypatch.setenv("RAMDISK_DIR", str(tmp_path / "disk"))
    assert ramdisk_plan.told(launch(inputs)) == f"RAMDISK=1: {tmp_path / 'disk'} is no tmpfs; would read from disk"


def test_nothing_is_there_at_all(inputs, root):
    for name in ("base.safetensors", "meta.json"):
        (inputs / name).unlink()
    assert "base.safetensors is not there yet" in ramdisk_plan.told(launch(inputs))
