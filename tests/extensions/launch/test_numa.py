"""numactl: refused in one line where it, the node or the right to bind is missing; else it binds."""

import os
import shutil
import subprocess

import pytest

from extensions.base.errors import UserError
from extensions.launch import numa


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with NUMA nodes 0 and 2 and a numactl that runs its command, or fails as `script` says."""

    def with_numactl(script='while [[ $1 == --* ]]; do shift; done; exec "$@"'):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        (folder / "numactl").write_text(f"#!/usr/bin/env bash\n{script}\n")
        (folder / "numactl").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    for node in (0, 2):
        (tmp_path / "nodes" / f"node{node}").mkdir(parents=True)
    (tmp_path / "nodes" / "online").write_text("0,2\n")
    monkeypatch.setattr(numa, "NODES", tmp_path / "nodes")
    return with_numactl


def refused(node) -> str:
    with pytest.raises(UserError) as error:
        numa.require(node)
    assert "\n" not in str(error.value) and f"NUMA={node}" in str(error.value) and "NUMA=none" in str(error.value)
    return str(error.value)


def test_without_numactl(monkeypatch):
    monkeypatch.setattr(numa.shutil, "which", lambda name: None)
    assert "numactl is not installed" in refused(0)
    numa.require(None)


def test_a_node_that_the_machine_does_not_have(machine, monkeypatch, tmp_path):
    machine()
    assert "no NUMA node 1 (it has: 0, 2)" in refused(1)
    monkeypatch.setattr(numa, "NODES", tmp_path / "nowhere")
    assert "no NUMA node 0 (it has: none)" in refused(0)


def test_numactl_that_may_not_bind_says_why(machine):
    machine("echo 'libnuma: warning' >&2; echo 'set_mempolicy: Operation not permitted' >&2; exit 1")
    assert "numactl cannot bind to node 2: set_mempolicy: Operation not permitted" in refused(2)
    machine("exit 3")
    assert "exit code 3" in refused(2)


def test_a_node_that_is_there(machine):
    machine()
    numa.require(2)
    assert numa.words(2) == ["numactl", "--cpunodebind=2", "--membind=2"] and numa.words(None) == []


@pytest.mark.skipif(shutil.which("numactl") is None, reason="numactl is not installed")
def test_the_real_one_binds_cores_and_memory():
    if reason := numa.missing(0):
        pytest.skip(reason)
    shown = subprocess.run([*numa.words(0), "numactl", "--show"], capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(":", 1) for line in shown.splitlines() if ":" in line)
    assert (facts["policy"].strip(), facts["membind"].strip(), facts["nodebind"].strip()) == ("bind", "0", "0")
