"""Compiled code is found again on processors of its own kind only."""

import platform

import pytest

from extensions.launch import command, processor
from tests.helpers import asking

CPUINFO = """processor\t: {number}
vendor_id\t: GenuineIntel
model name\t: {model}
cpu MHz\t\t: {clock}
flags\t\t: fpu sse2 avx2 {flags}

processor\t: 1
model name\t: {model}
flags\t\t: of another core
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine with this /proc/cpuinfo."""
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("ATEN_CPU_CAPABILITY", raising=False)

    def make(number=0, model="Xeon", clock="2100.0", flags=""):
        text = CPUINFO.format(number=number, model=model, clock=clock, flags=flags)
        processor.CPUINFO.write_text(text, encoding="utf-8")
        return processor.kind()

    return make


def test_a_kind_is_neither_a_core_nor_a_clock(machine):
    assert machine() == machine(number=3, clock="800.1")


def test_other_vectors_another_model_and_a_capability_asked_for_are_other_kinds(machine, monkeypatch):
    kinds = [machine(), machine(flags="avx512f"), machine(model="EPYC")]
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "avx2")
    kinds.append(processor.kind())
    assert len(set(kinds)) == 4


def test_bf16_in_hardware(machine):
    machine(flags="avx512f")
    assert not processor.has_bf16()
    machine(flags="avx512_bf16")
    assert processor.has_bf16()


def test_without_cpuinfo(tmp_path, monkeypatch):
    monkeypatch.setattr(processor, "CPUINFO", tmp_path / "none")
    assert processor.facts() == {} and processor.has_bf16()
    assert processor.kind().startswith(f"{platform.machine()}-") and "/" not in processor.kind()


def test_compiled_code_lies_in_a_folder_of_the_kind(machine):
    names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "TORCH_EXTENSIONS_DIR")
    made = asking.asked("--output_dir=out", "--torch_compile", "--deepspeed", run="25022301", PROFILE="tiny")
    folders = []
    for flags in ("", "avx512f"):
        kind = machine(flags=flags)
        chosen = [command.environment(made)[name] for name in names]
        assert all(f"/{kind}" in folder for folder in chosen) and all("/25022301/" in folder for folder in chosen[:2])
        folders.append(set(chosen))
    assert not folders[0] & folders[1]
