"""Several machines: what is refused, and what accelerate and torchrun make of the command."""

import json
import os
import socket
import subprocess
from pathlib import Path

import pytest
from accelerate.commands import launch as accelerate_launch
from accelerate.utils.launch import prepare_multi_gpu_env
from torch.distributed import run as torchrun

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.launch import command, machines, run_folder
from extensions.launch.stages import changed
from tests.helpers import asking

TWO = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}


def asked(*facts, **environment):
    return asking.asked("--output_dir=out", facts=facts, **environment)


def test_one_machine_is_the_default():
    made = asked("GPUS=4")
    assert made.machines == machines.Machines() and made.processes == 4 and made.machines.variables() == []
    assert asked("GPUS=4", NNODES="1", NODE_RANK="0", MASTER_ADDR="a").machines.count == 1


def test_all_processes_are_counted():
    made = asked("GPUS=4", **TWO)
    assert made.processes == 8 and made.gpus == 4
    assert made.machines == machines.Machines(2, 1, "127.0.0.1", 29511)
    assert machines.read(dict(word.split("=") for word in made.machines.variables())) == made.machines


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"NODE_RANK": "2"}, "NODE_RANK=2 is out of range"),
        ({"NODE_RANK": "-1"}, "NODE_RANK=-1 is not a whole number from 0 up"),
        ({"NODE_RANK": ""}, "NNODES=2 without NODE_RANK"),
        ({"MASTER_ADDR": ""}, "NNODES=2 without MASTER_ADDR"),
        ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000 is no port"),
        ({"MASTER_PORT": "x"}, "MASTER_PORT=x is not a whole number"),
        ({"NNODES": "0"}, "NNODES=0 is not a whole number from 1 to 4096"),
        ({"NNODES": "two"}, "NNODES=two"),
        ({"NNODES": "1"}, "NODE_RANK=1 is out of range"),
        ({"NNODES": ""}, "NODE_RANK is set without NNODES"),
        ({"NNODES": "", "NODE_RANK": ""}, "MASTER_ADDR is set without NNODES"),
    ],
)
def test_contradictions(change, said):
    with pytest.raises(UserError) as error:
        asked("GPUS=1", **TWO | change)
    assert str(error.value).startswith(said) and "\n" not in str(error.value)


def test_a_port_that_is_taken_stops_machine_0_alone():
    with socket.socket() as taken:
        taken.bind(("", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"MASTER_PORT={port} cannot be used here"):
            machines.check(machines.Machines(2, 0, "127.0.0.1", port))
        machines.check(machines.Machines(2, 1, "127.0.0.1", port))
    machines.check(machines.Machines(2, 0, "127.0.0.1", port))


@pytest.mark.parametrize("gpus", [1, 4])
def test_accelerate_starts_this_machines_share_of_all_processes(gpus):
    """Through accelerate's own parser, its reading of our configuration file, and its translation for torchrun."""
    words = command.build(asked(f"GPUS={gpus}", **TWO), Path("tree"))
    assert words[:4] == [*command.START, "accelerate.commands.launch"]
    args = accelerate_launch.launch_command_parser().parse_args(words[4:])
    args, defaults, _ = accelerate_launch._validate_launch_command(args)
    assert args.multi_gpu and not args.use_cpu and args.module
    prepare_multi_gpu_env(args)
    got = (args.nnodes, args.nproc_per_node, args.node_rank, args.master_addr, args.master_port)
    assert got == ("2", str(gpus), 1, "127.0.0.1", "29511")
    assert defaults.num_machines == 1, "the configuration says one machine, and must lose"


def test_torchrun_starts_this_machines_share_on_cpus(tmp_path):
    made = asked("GPUS=3", GPUS="3", PROFILE="tiny", **TWO)
    words = command.build(made, tmp_path)
    assert words[:4] == [*command.START, "torch.distributed.run"]
    args = torchrun.get_args_parser().parse_args(words[4:])
    got = (args.nnodes, args.nproc_per_node, args.node_rank, args.master_addr, args.master_port)
    assert got == ("2", "3", 1, "127.0.0.1", 29511)
    one = asked("GPUS=1", PROFILE="tiny", **TWO | {"NODE_RANK": "0"})
    assert "--node_rank=0" in command.launcher(one), "one process a machine needs a launcher, too"


def test_one_process_has_its_own_configuration():
    assert command.config(asked("GPUS=1")).name == "one_gpu.yaml"
    assert command.config(asked("GPUS=2")).name == "multi_gpu.yaml"


def test_one_process_of_deepspeed_has_its_ranks(tmp_path):
    """What deepspeed.comm.init_distributed asks for before it looks for MPI, from accelerate's own launcher.

    The trainer's module is one that writes its environment down; the launcher needs no card for that.
    """
    (tmp_path / "extensions_reference.py").write_text(
        "import json, os, pathlib; pathlib.Path('environment').write_text(json.dumps(dict(os.environ)))"
    )
    made = asked("GPUS=1")
    made = changed(made, flags=made.flags.with_("deepspeed"))
    words = command.build(made, None)
    words[words.index("extensions.reference")] = "extensions_reference"
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    subprocess.run(words, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True)
    found = json.loads((tmp_path / "environment").read_text())
    assert (found["RANK"], found["WORLD_SIZE"], found["LOCAL_RANK"]) == ("0", "1", "0")
    assert found["MASTER_ADDR"] and found["MASTER_PORT"]


def test_machines_that_share_a_disk_have_a_run_folder_each():
    first, second = (run_folder.planned(asked("GPUS=1", **TWO | {"NODE_RANK": rank})) for rank in "01")
    assert first != second and second.name.endswith("-node1") and first.parent == second.parent


@pytest.mark.parametrize(("shared", "mode"), [("0", 0o700), ("1", 0o750)])
def test_a_run_folder_is_the_users_alone_unless_asked(tmp_path, monkeypatch, shared, mode):
    monkeypatch.setattr(run_folder, "LOGS", tmp_path / "logs")
    before = os.umask(0o027)
    try:
        made = run_folder.create(asked("GPUS=1", LOGS_SHARED=shared))
    finally:
        os.umask(before)
    assert made.stat().st_mode & 0o777 == mode
