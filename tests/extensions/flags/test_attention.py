"""Which attention a launch computes with: ARGS' before the launcher's, and PyTorch's where xformers is of no use."""

import shlex

import pytest

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.flags import attention
from extensions.flags.words import Flags
from extensions.launch import __main__ as launch

WORKS = "def memory_efficient_attention(q, k, v):\n    return q\n"
NO_KERNEL = "def memory_efficient_attention(q, k, v):\n    raise NotImplementedError('No operator found')\n"
# A torch with a card, as far as the trial looks.
TORCH = """
float16 = None
class cuda:
    is_available = staticmethod(lambda: True)
class randn:
    def __init__(self, *shape, **more):
        assert more == {"device": "cuda", "dtype": None, "requires_grad": True}
    sum = backward = lambda self: self
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install an xformers whose `ops` has this source, beside a torch with a card."""

    def make(source: str) -> None:
        (tmp_path / "xformers").mkdir()
        (tmp_path / "xformers" / "__init__.py").touch()
        (tmp_path / "xformers" / "ops.py").write_text(source)
        (tmp_path / "torch.py").write_text(TORCH)
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    return make


@pytest.fixture
def missing(monkeypatch):
    monkeypatch.setattr(attention.importlib.util, "find_spec", lambda name: None)


def settled(words: str, cpu: bool = False) -> tuple[list[str], list[str]]:
    """(the flags then, the notes)."""
    flags, notes = attention.settle(Flags.of_text(words), cpu)
    return flags.words(), notes


def test_a_missing_xformers_becomes_sdpa(missing):
    note = "xformers is not installed: --xformers becomes --sdpa"
    assert settled("--xformers --seed=1") == (["--seed=1", "--sdpa"], [note])


def test_a_cpu_is_nothing_for_xformers(installed):
    installed(WORKS)
    note = "xformers computes on GPUs only: --xformers becomes --sdpa"
    assert settled("--xformers", cpu=True) == (["--sdpa"], [note])


def test_one_that_works_stays(installed):
    installed(WORKS)
    assert settled("--xformers") == (["--xformers"], [])


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("raise ImportError('undefined symbol: _ZN3c10')", "ImportError: undefined symbol: _ZN3c10"),
        (NO_KERNEL, "NotImplementedError: No operator found"),
        ("import os\nos.abort()", "exit code -6"),
    ],
    ids=["fails to load", "has no kernel", "crashes"],
)
def test_one_that_is_broken_becomes_sdpa_and_says_why(source, why, installed):
    installed(source)
    words, notes = settled("--xformers")
    assert words == ["--sdpa"] and len(notes) == 1 and "\n" not in notes[0]
    assert "installed and does not work" in notes[0] and why in notes[0] and "becomes --sdpa" in notes[0]


def test_one_that_hangs_is_not_waited_for(installed, monkeypatch):
    installed("import time\ntime.sleep(60)")
    monkeypatch.setattr(attention, "SECONDS", 1)
    assert "does not load within 1 s" in settled("--xformers")[1][0]


@pytest.mark.parametrize("words", ["", "--sdpa", "--mem_eff_attn"])
def test_where_it_is_not_asked_for_nothing_is_tried(words, monkeypatch):
    monkeypatch.setattr(attention, "fault_of_xformers", lambda: pytest.fail("tried"))
    assert settled(words) == (Flags.of_text(words).words(), [])


@pytest.fixture
def command(monkeypatch, capsys):
    """The words of a dry run of a launcher with these flags, and what it said."""
    monkeypatch.setattr(launch.trainer, "settle", lambda now: now)

    def shown(flag: str, **environment) -> tuple[list[str], str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("DRY_RUN", "1")
        base = ["--pretrained_model_name_or_path=base.safetensors", "--output_dir=out", flag]
        code = exit_code_of(launch.main, ["25022601", "GPUS=1", "sdxl_train.py", *base])
        out, err = capsys.readouterr()
        assert code in (0, UserError.code)
        return shlex.split(out), err

    return shown


def given(words: list[str]) -> list[str]:
    return [word for word in words if word.removeprefix("--") in attention.NAMES]


@pytest.mark.parametrize("profile", ["", "tiny"])
@pytest.mark.parametrize("theirs", attention.NAMES)
@pytest.mark.parametrize("own", ["mem_eff_attn", "sdpa"])
def test_args_replace_the_launchers(own, theirs, profile, command, missing, standins):
    """With and without xformers: what ARGS names needs none."""
    words, said = command(f"--{theirs}", ARGS=f"--{own}", PROFILE=profile)
    assert given(words) == [f"--{own}"]
    assert said.count(f"ARGS: --{own} replaces --{theirs}\n") == (own != theirs)
    assert "becomes" not in said


@pytest.mark.parametrize(("profile", "why"), [("", "is not installed"), ("tiny", "computes on GPUs only")])
def test_args_may_ask_for_xformers_too(profile, why, command, missing, standins):
    words, said = command("--mem_eff_attn", ARGS="--xformers", PROFILE=profile)
    assert given(words) == ["--sdpa"]
    assert "ARGS: --xformers replaces --mem_eff_attn\n" in said and f"xformers {why}: --xformers becomes" in said


@pytest.mark.parametrize("profile", ["", "tiny"])
def test_two_in_args_exclude_each_other(profile, command, standins):
    words, said = command("--xformers", ARGS="--mem_eff_attn --sdpa", PROFILE=profile)
    assert words == [] and "error: --mem_eff_attn and --sdpa exclude each other" in said
