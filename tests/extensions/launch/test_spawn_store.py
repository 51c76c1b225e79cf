"""Where the processes of a run on one machine listen: for this machine alone."""

import os
import subprocess

import psutil
import pytest

from extensions.base.errors import UserError
from extensions.base.paths import CONFIGS, ROOT
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
    port = command.free_port()
    words = {
        "torchrun": ["torch.distributed.run", TWO, f"--master_port={port}"],
        "accelerate": [
            "accelerate.commands.launch", f"--config_file={CONFIGS / 'multi_gpu.yaml'}", "--num_processes=2",
            f"--main_process_port={port}",
        ],
    }[launcher]  # fmt: skip
    environment = os.environ | command.environment(asking.asked(PROFILE="tiny"))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "cwd": ROOT}
    process = subprocess.Popen([*command.START, *words, str(tmp_path / "program.py")], env=environment, **pipes)
    try:
        assert process.stdout.readline().startswith("met")  # two processes print, and may meet in a line
        found = listening(psutil.Process(process.pid))
        assert found and all(address.removeprefix("::ffff:") == "127.0.0.1" for address in found), found
    finally:
        for one in [*psutil.Process(process.pid).children(recursive=True), process]:
            one.kill()
        process.wait()


def test_several_machines_choose_for_themselves(monkeypatch):
    two = asking.asked(NNODES="2", NODE_RANK="0", MASTER_ADDR="10.0.0.1")
    assert "GLOO_SOCKET_IFNAME" not in command.environment(two)
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth1")
    assert "GLOO_SOCKET_IFNAME" not in command.environment(asking.asked())


def test_no_temporary_folder_is_one_line(monkeypatch):
    def full(**_):
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(spawn.tempfile, "TemporaryDirectory", full)
    with pytest.raises(UserError, match="^no temporary folder can be written .*let TMPDIR= name another$"):
        spawn.main(["torch.distributed.run"])
