"""Two real processes under torchrun, one under accelerate: what is said of their end, and the exit code."""

import os
import signal
import subprocess

import pytest

from extensions.base.paths import CONFIGS, ROOT
from extensions.launch import command

PROGRAM = """
import os, sys, time
from extensions.base.errors import UserError
from extensions.base.reporting import exit_with
rank = int(os.environ.get("RANK", "0"))
def meet():
    import torch.distributed as dist
    if not dist.is_initialized(): dist.init_process_group("gloo")
    dist.barrier()
def same(): raise UserError("no base; give one")
def each():
    meet()
    raise UserError(f"{rank}.npz is corrupt; make it again")
def one():  # a trainer waits in a reduction while another finds a corrupt file
    meet()
    if rank: raise UserError("1.npz is corrupt; make it again")
    while True: meet()
def bug(): raise KeyError("ours")
def bug_then_line():
    if rank == 0: raise KeyError("ours")
    meet()
    raise UserError("no base; give one")
def wait():
    meet()
    os.write(1, f"ready {rank}\\n".encode())
    time.sleep(60)
def good(): os.write(1, f"trained by {rank}\\n".encode())  # print writes text and line end apart
try:
    {act}()
    error = None
except BaseException as caught:
    error = caught
code = exit_with(error)
if "{act}" == "each": meet()
if "{act}" == "bug_then_line" and rank == 0: meet(), time.sleep(60)
sys.exit(code)
"""


@pytest.fixture
def started(tmp_path):
    """Start the program in a process group of its own; what it says goes to one pipe."""

    def start(act, *launcher):
        (tmp_path / "program.py").write_text(PROGRAM.replace("{act}", act), encoding="utf-8")
        two = ("torch.distributed.run", "--nproc_per_node=2", f"--master_port={command.free_port()}")
        words = [*command.START, *(launcher or two), str(tmp_path / "program.py")]
        pipe = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        return subprocess.Popen(words, cwd=ROOT, text=True, start_new_session=True, **pipe)

    return start


@pytest.fixture
def ended(started):
    """Run the program; its exit code and what all processes said."""

    def run(*words):
        process = started(*words)
        said, _ = process.communicate(timeout=120)
        return process.returncode, said

    return run


def lines(said):
    """What was said, without the launchers' and libraries' warnings."""
    return [line for line in said.splitlines() if line and not line.startswith(("W", "[W", "  warn"))]


def test_a_line_of_all_processes_is_said_once(ended):
    code, said = ended("same")
    assert (code, lines(said)) == (2, ["error: no base; give one"])
    assert "SIGTERM" not in said


def test_a_line_of_one_process_is_said_and_what_it_does_to_the_others_is_no_traceback(ended):
    code, said = ended("one")
    first, *rest = lines(said)
    assert (code, first) == (2, "error: 1.npz is corrupt; make it again")
    assert len(rest) <= 1 and all(line.startswith("then, in another process: ") for line in rest)


def test_different_lines_are_all_said(ended):
    code, said = ended("each")
    assert code == 2
    assert sorted(lines(said)) == [f"error: {rank}.npz is corrupt; make it again" for rank in "01"]


def test_a_bug_keeps_its_traceback_and_torchruns_summary(ended):
    code, said = ended("bug")
    assert code == 1
    assert "KeyError: 'ours'" in said and "ChildFailedError" in said and "exitcode  : 1" in said


def test_a_line_that_follows_a_bug_does_not_hide_it(ended):
    """torchrun sees process 1 end first, with exit code 2; process 0 failed before it."""
    code, said = ended("bug_then_line")
    assert code == 1
    assert "KeyError: 'ours'" in said and "error: no base; give one" in said and "ChildFailedError" in said


def test_a_good_end_is_one(ended):
    code, said = ended("good")
    assert code == 0 and sorted(lines(said)) == ["trained by 0", "trained by 1"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_the_shells_code_without_torchruns_traceback(number, started):
    process = started("wait")
    said = ""
    while said.count("ready") < 2 and (line := process.stdout.readline()):
        said += line
    os.killpg(process.pid, number)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert "SignalException" not in said and said.count("interrupted") <= 1


@pytest.mark.parametrize(("act", "wanted"), [("same", 2), ("bug", 1)])
def test_one_process_under_accelerate(act, wanted, ended):
    code, said = ended(act, "accelerate.commands.launch", f"--config_file={CONFIGS / 'one_gpu.yaml'}", "--cpu")
    assert code == wanted
    assert ("Traceback" in said) == (wanted == 1)
    assert said.count("error: no base; give one") == (act == "same")
