"""Builds the command line that trains: accelerate's launcher, torchrun on CPUs, numactl in front where asked."""

import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

from extensions.base.paths import COMPILED, CONFIGS, TORCH_EXTENSIONS
from extensions.flags.words import Flags
from extensions.launch import numa, processor
from extensions.launch.stages import Asked

SEVERAL = "multi_gpu.yaml"
START = (sys.executable, "-m", "extensions.launch.spawn")
# Minutes that processes wait for another in one call, as they do while process 0 writes a checkpoint. NCCL's ten end
# the run where a disk takes less than 12 MB/s for 7 GB. (Of states they wait in many calls, without limit.)
PATIENCE = 60
# By either of these the caller settles how PyTorch's allocator works.
ALLOCATOR = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
# By any of these the caller chooses where NCCL listens.
NCCL_ADDRESSES = {"NCCL_SOCKET_IFNAME", "NCCL_SOCKET_FAMILY", "NCCL_COMM_ID"}


def build(asked: Asked, tree: Path | None) -> list[str]:
    """Return the command line, as a list of words. tree: the patched sd-scripts; None for the reference trainer."""
    return [*numa.words(asked.numa), *launcher(asked), *trainer(tree, asked.script, asked.flags)]


def trainer(tree: Path | None, script: str, flags: Flags, only_check: bool = False) -> list[str]:
    """Return the words after `python`: the trainer's module and its arguments."""
    module = "extensions.upstream" if tree else "extensions.reference"
    first = ["--only-check"] * only_check + [str(tree)] * bool(tree)
    return ["-m", module, *first, script, *flags.words()]


def complete(now: Asked, folder: Path, tree: Path | None) -> Flags:
    """Return the flags with those that only a launch can know. folder: its run folder."""
    flags = now.flags.with_("logging_dir", folder / "tensorboard").with_("run_folder", folder)
    if now.processes > 1 and "ddp_timeout" not in flags:
        flags = flags.with_("ddp_timeout", PATIENCE)
    if tree and "console_log_file" not in flags:
        # Upstream's coloured log draws a random number of Python's own stream with every line (rich's link ids), so
        # that a resumed run would stand elsewhere in it. Plain, it folds no long lines either.
        flags = flags.with_("console_log_simple")
    return flags


def launcher(asked: Asked) -> list[str]:
    """Return what starts the processes.

    One CPU process needs no launcher. Several, and DeepSpeed, are torchrun's: accelerate's launcher starts
    one process on a CPU whatever its configuration says. GPUs are accelerate's, with a configuration by
    purpose.
    """
    if asked.cpu and asked.processes == 1 and "deepspeed" not in asked.flags:
        return [sys.executable]
    if asked.cpu:
        processes = f"--nproc_per_node={asked.gpus}"
        return [*START, "torch.distributed.run", processes, *torchrun_machines(asked)]
    processes = f"--num_processes={asked.processes}"
    accelerate = [*START, "accelerate.commands.launch", f"--config_file={config(asked)}", processes]
    return [*accelerate, *accelerate_machines(asked)]


def torchrun_machines(asked: Asked) -> list[str]:
    """Return where torchrun's processes meet: on a free port of this machine, or at machine 0."""
    of = asked.machines
    if of.count == 1:
        return [f"--master_port={free_port()}"]
    meeting = [f"--master_addr={of.address}", f"--master_port={of.port}"]
    return [f"--nnodes={of.count}", f"--node_rank={of.rank}", *meeting]


def accelerate_machines(asked: Asked) -> list[str]:
    """Return the same for accelerate's launcher. Given in full, so that the configuration's single machine loses."""
    of = asked.machines
    if of.count == 1:
        # A free one, chosen as it starts: on its fixed 29500 two runs at once would meet.
        return ["--main_process_port=0"] if config(asked) == CONFIGS / SEVERAL else []
    meeting = [f"--main_process_ip={of.address}", f"--main_process_port={of.port}", "--same_network"]
    return [f"--num_machines={of.count}", f"--machine_rank={of.rank}", *meeting]


def config(asked: Asked) -> Path:
    """accelerate's configuration for this run: one process, or several and DeepSpeed.

    DeepSpeed has none of its own: upstream builds its plugin from --deepspeed and --zero_stage, and a
    second source of accumulation or stage would silently win. It wants ranks of a single process, too, which
    accelerate gives by torchrun alone; without them it asks MPI.
    """
    alone = asked.processes == 1 and "deepspeed" not in asked.flags
    return CONFIGS / ("one_gpu.yaml" if alone else SEVERAL)


def free_port() -> int:
    """Return a TCP port that is free now: two tiny runs at once must not meet."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def loopback(given: Mapping[str, str]) -> dict[str, str]:
    """Return the variables by which gloo and NCCL listen for this machine alone, where the caller's say nothing.

    NCCL's sockets carry how its processes find each other; tensors take NVLink, peer access or shared memory. It
    finds no address of version 6 on `lo`, and none that another address (NCCL_COMM_ID) reaches.
    """
    chosen = {} if "GLOO_SOCKET_IFNAME" in given else {"GLOO_SOCKET_IFNAME": "lo"}
    if not given.keys() & NCCL_ADDRESSES:
        chosen |= {"NCCL_SOCKET_IFNAME": "=lo"}  # without the sign it would be a beginning of names
    return chosen


def environment(asked: Asked) -> dict[str, str]:
    """Variables of the training process, on top of the caller's."""
    # Upstream's log is drawn by rich, which folds lines at 80 columns when it writes to a pipe.
    chosen = {"PYTHONUNBUFFERED": "1", "TOKENIZERS_PARALLELISM": "false", "COLUMNS": "160"}
    chosen |= {"PYTHONUTF8": "1"}  # as train/lib/launch.sh has it, for whoever runs command.sh by hand
    if asked.machines.count == 1:
        chosen |= loopback(os.environ)
    if "torch_compile" in asked.flags:
        # Compiled code of one run; another launch of it finds it there, on a processor of the same kind.
        folder = COMPILED / asked.run / processor.kind()
        chosen |= {"TORCHINDUCTOR_CACHE_DIR": str(folder), "TRITON_CACHE_DIR": str(folder / "triton")}
    if "deepspeed" in asked.flags:
        # What DeepSpeed compiles at its first start. PyTorch's folder for it is shared by all installations of a
        # user, which then build it anew for each other, even while it is in use.
        chosen["TORCH_EXTENSIONS_DIR"] = str(TORCH_EXTENSIONS / processor.kind())
    if not asked.cpu and not os.environ.keys() & ALLOCATOR:
        # 25 sizes of images and texts of any length: blocks that do not fit the next size are not given back, until
        # a full card frees everything and waits, every few micro-steps.
        chosen |= {ALLOCATOR[0]: "expandable_segments:True"}
    if asked.cpu:
        # One thread: the stand-ins' products are too small for a second one to help, and on a busy
        # machine threads that wait for each other cost more than they save.
        chosen |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        if "deepspeed" not in asked.flags:  # with it, accelerate would start no DeepSpeed and say nothing
            chosen |= {"ACCELERATE_USE_CPU": "true"}
    return chosen
