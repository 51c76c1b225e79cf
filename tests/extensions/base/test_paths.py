"""Where things stand: in this repository, wherever it lies; logs where the caller wants them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from extensions.base import paths
from extensions.base.errors import UserError
from extensions.upstream import git


def test_the_repository_is_the_one_that_git_sees():
    if not (paths.ROOT / ".git").exists():
        pytest.skip("not a checkout")
    seen = git.output(Path(__file__).parent, "rev-parse", "--show-toplevel")
    assert Path(seen).resolve() == paths.ROOT


def test_what_the_repository_brings_is_there():
    assert (paths.ROOT / "pyproject.toml").is_file() and paths.SUBMODULE.is_dir()
    assert list(paths.PATCHES.glob("*.patch")) and list(paths.LAUNCHERS.glob("[0-9]*.sh"))


def test_nothing_that_is_made_lies_outside_of_the_ignored_folder():
    made = [paths.CONFIGS, paths.PATCHED, paths.TORCH_EXTENSIONS, paths.COMPILED, paths.STANDIN_MODELS]
    assert all(path.is_relative_to(paths.RUNTIME) for path in [*made, paths.STANDIN_DATASETS])


@pytest.mark.parametrize(("given", "logs"), [("/another disk/logs", "/another disk/logs"), ("", None)])
def test_logs_go_where_the_caller_wants_them(given, logs):
    program = "from extensions.base import paths; print(paths.LOGS); print(paths.CHECKS)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=paths.ROOT, env=os.environ | {"LOGS": given}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    found = [Path(line) for line in done.stdout.splitlines()]
    expected = Path(logs) if logs else paths.RUNTIME / "logs" / "train"
    assert found == [expected, expected.parent / "check-data"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (paths.ROOT / "train" / "a b.sh", "train/a b.sh"),
        (paths.ROOT, "."),
        (Path("/data/meta.json"), "/data/meta.json"),
        (paths.ROOT.with_name(f"{paths.ROOT.name}-2") / "x", f"{paths.ROOT}-2/x"),
        (Path("train/x.sh"), "train/x.sh"),
    ],
)
def test_a_path_for_a_person(path, text):
    assert paths.shown(path) == text


@pytest.mark.parametrize("name", ["a", "192x256-00000.bin", "U-Net.safetensors", "für mich.bin", "x" * 255, "..."])
def test_a_name_of_a_file(name, tmp_path):
    assert paths.is_file_name(name)
    (tmp_path / name).touch()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/", "a/b", "../a", "/etc/passwd", "x" * 256, "ü" * 128, "a\nb", "\x1b[2J"]
)
def test_no_name_of_a_file(name):
    assert not paths.is_file_name(name)


@pytest.mark.parametrize(
    ("out", "inside"), [("a", True), ("a/b", True), ("a/../a/x", True), ("link/x", True), ("ab", False), (".", False)]
)
def test_what_is_written_lies_apart_from_what_is_read(tmp_path, out, inside):
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    if inside:
        with pytest.raises(UserError, match=r"OUT=.* lies in the folder of things .*; give a folder outside of it"):
            paths.require_apart(tmp_path / out, tmp_path / "a", "folder of things")
    else:
        paths.require_apart(tmp_path / out, tmp_path / "a", "folder of things")
