"""Where the processes of a run on one machine listen: for this machine alone."""

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.launch import command, spawn
from tests.helpers import asking

PROGRAM = """
import sys
import torch.distributed as dist
dist.init_process_group("gloo")
dist.barrier()
print("met", flush=True)
sys.stdin.readline()
"""
TWO = "--nproc_per_node=2"


def listening(root: psutil.Process) -> set[str]:
    """Addresses on which it, or a process below it, listens."""
    family = [root, *root.children(recursive=True)]
    found = [one for each in family for one in each.net_connections("inet")]
    return {one.laddr.ip for one in found if one.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_nobody_else_can_reach_it(tmp_path, launcher):
    (tmp_path / "program.py").write_text(PROGRAM)
    with started(launcher, tmp_path / "program.py") as process:
        assert process.stdout.readline().startswith("met")  # two processes print, and may meet in a line
        found = listening(psutil.Process(process.pid))
        assert found and all(address.removeprefix("::ffff:") == "127.0.0.1" for address in found), found


@contextmanager
def started(launcher: str, program: Path):
    """Two processes of a program, by the words that a launch gives."""
    words = {
        "torchrun": ["torch.distributed.run", TWO, *command.torchrun_machines(asking.asked())],
        "accelerate": command.launcher(asking.asked(facts=("GPUS=2",)))[len(command.START) :],
    }[launcher]
    environment = os.environ | command.environment(asking.asked(PROFILE="tiny"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    process = subprocess.Popen([*command.START, *words, str(program)], env=environment, **pipes)
    try:
        yield process
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_two_runs_at_once_do_not_meet(tmp_path, launcher):
    """With one port for both, the second is refused, or joins the first."""
    (tmp_path / "program.py").write_text(PROGRAM)
    with started(launcher, tmp_path / "program.py") as one, started(launcher, tmp_path / "program.py") as other:
        assert all(process.stdout.readline().startswith("met") for process in (one, other))


def test_a_launch_on_gpus_chooses_its_port_as_it_starts():
    assert command.launcher(asking.asked(facts=("GPUS=2",)))[-1] == "--main_process_port=0"
    assert not [word for word in command.launcher(asking.asked(facts=("GPUS=1",))) if "main_process_port" in word]


def test_several_machines_choose_for_themselves(monkeypatch):
    two = asking.asked(NNODES="2", NODE_RANK="0", MASTER_ADDR="10.0.0.1")
    assert not {"GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"} & command.environment(two).keys()
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth1")
    assert "GLOO_SOCKET_IFNAME" not in command.environment(asking.asked())


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        ({}, {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "=lo"}),
        ({"GLOO_SOCKET_IFNAME": "eth1"}, {"NCCL_SOCKET_IFNAME": "=lo"}),
        ({"NCCL_SOCKET_IFNAME": "eth1"}, {"GLOO_SOCKET_IFNAME": "lo"}),
        ({"NCCL_SOCKET_FAMILY": "AF_INET6"}, {"GLOO_SOCKET_IFNAME": "lo"}),
        ({"NCCL_COMM_ID": "10.0.0.1:1"}, {"GLOO_SOCKET_IFNAME": "lo"}),
    ],
)
def test_one_machine_listens_for_itself_unless_told_otherwise(monkeypatch, given, chosen):
    for name in ("GLOO_SOCKET_IFNAME", *command.NCCL_ADDRESSES):
        monkeypatch.delenv(name, raising=False)
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = command.environment(asking.asked())
    assert {name: value for name, value in found.items() if name.endswith("IFNAME")} == chosen


def test_no_temporary_folder_is_one_line(monkeypatch):
    def full(**_):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(spawn.tempfile, "TemporaryDirectory", full)
    with pytest.raises(UserError, match="^no temporary folder can be written .*let TMPDIR= name another$"):
        spawn.main(["torch.distributed.run"])
