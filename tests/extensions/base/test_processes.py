"""What processes tell each other, with two real ones over gloo; alone, nothing travels."""

import subprocess
import sys
from types import SimpleNamespace

import pytest

from extensions.base.processes import any_process, any_process_of_each, from_all, from_main, is_first

TWO = """
from accelerate import Accelerator
from extensions.base.processes import any_process, any_process_of_each, from_all, from_main
made = Accelerator(cpu=True)
me = made.process_index
flags = [any_process(made, flag) for flag in (False, me == 1, me == 0)]
flags.append(any_process_of_each(made, {"b": me == 1, "a": False, "c": True}))
print(flags, from_main(made, {"from": me}), from_all(made, {"of": me}), flush=True)
made.end_training()
"""


def test_alone():
    one = SimpleNamespace(num_processes=1)
    assert any_process(one, True) and not any_process(one, False) and from_main(one, "x") == "x"
    assert from_all(one, "x") == ["x"] and any_process_of_each(one, {"a": True}) == {"a": True}


def test_two_processes_agree(tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone", "two.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    # Their lines may run together.
    flags = "[False, True, True, {'b': True, 'a': False, 'c': True}]"
    assert done.stdout.count(flags) == done.stdout.count("{'from': 0}") == 2, done.stderr[-2000:]
    assert done.stdout.count("[{'of': 0}, {'of': 1}]") == 2


@pytest.mark.parametrize(
    ("rank", "local", "first"), [(None, None, True), ("0", "0", True), ("2", "0", False), ("5", None, True)]
)
def test_the_first_process(rank, local, first, monkeypatch):
    """Process 2 may be the first of its machine; some clusters set RANK for every program."""
    for name, value in (("RANK", rank), ("LOCAL_RANK", local)):
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    assert is_first() == first
