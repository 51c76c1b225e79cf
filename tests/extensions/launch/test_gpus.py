"""GPUs are named by a child, so that a launcher that waits for weeks holds no torch."""

import subprocess
import sys

import pytest
import torch

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.launch import gpus

CARDS = """
import pathlib
with open(pathlib.Path(__file__).with_name("starts"), "a") as file:
    file.write("x")
print("a library greets")
class cuda:
    device_count = staticmethod(lambda: 2)
    get_device_name = staticmethod(("NVIDIA GeForce RTX 3090", "Karte Ü").__getitem__)
"""


@pytest.fixture(autouse=True)
def unasked():
    """What another test has asked is not remembered, nor what this one asks."""
    gpus.names.cache_clear()
    yield
    gpus.names.cache_clear()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a torch of this source."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return (tmp_path / "torch.py").write_text


def test_the_cards_of_this_machine():
    assert gpus.names() == tuple(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))


def test_the_process_that_asks_is_left_without_torch():
    asks = "import sys; from extensions.launch import gpus; gpus.names(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asks], cwd=ROOT, check=False).returncode == 0


def test_names_in_pytorchs_order_whatever_else_is_printed_asked_for_once(installed, tmp_path):
    installed(CARDS)
    assert gpus.names() == gpus.names() == ("NVIDIA GeForce RTX 3090", "Karte Ü")
    assert (tmp_path / "starts").read_text() == "x"


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise ImportError('libcuda.so.1: no such file')", "ImportError: libcuda.so.1: no such file"),
        ("import os\nos.abort()", "exit code -6"),
        ("", "AttributeError: module 'torch' has no attribute 'cuda'"),
    ],
    ids=["fails to load", "crashes", "is none"],
)
def test_a_torch_that_does_not_start_is_one_line_and_asked_again_when_mended(source, why, installed):
    installed(source)
    with pytest.raises(UserError, match="PyTorch cannot be started .*; delete .venv") as caught:
        gpus.names()
    assert f"({why}" in str(caught.value) and "\n" not in str(caught.value)
    installed(CARDS)
    assert len(gpus.names()) == 2


def test_one_that_hangs_is_not_waited_for(installed, monkeypatch):
    installed("import time\ntime.sleep(60)")
    monkeypatch.setattr(gpus, "SECONDS", 1)
    with pytest.raises(UserError, match="does not say within 1 s which GPUs there are; look at nvidia-smi"):
        gpus.names()
