"""What fits into a tmpfs: pages, files, memory, containers."""

import os
from types import SimpleNamespace

import pytest

from extensions.launch import memory

GIB = 1 << 30


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of 64 GiB with 40 to spare, and a tmpfs of 30 GiB and 1,000 files."""

    def with_(total=64, available=40, free=30, files=1000, container=1 << 62):
        facts = SimpleNamespace(f_bavail=free * GIB // 4096, f_frsize=4096, f_files=files, f_favail=files)
        monkeypatch.setattr(memory.os, "statvfs", lambda _: facts)
        monkeypatch.setattr(memory, "machine", lambda: (total * GIB, available * GIB))
        monkeypatch.setattr(memory, "container", lambda: container)
        return memory.room(tmp_path)

    return with_


def test_the_smallest_limit_counts_and_memory_stays_for_the_training(machine):
    assert machine().bytes == 30 * GIB
    assert machine(available=20).bytes == 12 * GIB
    assert machine(total=8, available=7).bytes == 5 * GIB, "a quarter is kept on a small machine"
    assert machine(container=10 * GIB).bytes == 2 * GIB
    assert machine(available=3).bytes == 0


def test_files_are_counted_where_the_mount_counts_them(machine):
    assert machine().files == 1000 and machine(files=0).files > 1e9


def test_a_file_takes_whole_pages_and_an_entry():
    assert memory.footprint(0) == memory.ENTRY
    assert memory.footprint(1) == memory.footprint(4096) == 4096 + memory.ENTRY
    space = memory.Room(2 * memory.footprint(1), 5)
    assert [space.take(1) for _ in range(3)] == [True, True, False]
    assert [memory.Room(GIB, 1).take(1), memory.Room(GIB, 0).take(1)] == [True, False]


@pytest.mark.parametrize(("limit", "usage"), [("memory.max", "memory.current"), ("memory.limit", "memory.usage")])
def test_a_containers_limit_without_what_it_caches(monkeypatch, tmp_path, limit, usage):
    monkeypatch.setattr(memory, "CGROUPS", ((tmp_path / "none", "a", "b"), (tmp_path, limit, usage)))
    assert memory.container() > 1 << 60
    (tmp_path / limit).write_text("1000\n")
    (tmp_path / usage).write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 1\nactive_file 30\ninactive_file 20\n")
    assert memory.container() == 350
    (tmp_path / limit).write_text("max\n")
    assert memory.container() > 1 << 60


def test_the_real_machine():
    total, available = memory.machine()
    assert total == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") and 0 < available <= total


def test_bytes_for_a_person():
    assert (memory.gib(3 * GIB // 2), memory.gib(GIB // 1024)) == ("1.5 GiB", "1.0 MiB")
