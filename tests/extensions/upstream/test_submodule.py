"""The submodule on machines that have it, lack it, or have a copy without its large files. Real git."""

import subprocess
import sys

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.upstream import git, submodule

FILES = [*submodule.NEEDED, "large.bin"]


def commit_all(folder, message):
    git.output(folder, "add", "-A")
    git.output(folder, "commit", "-q", "-m", message)
    return git.output(folder, "rev-parse", "HEAD")


@pytest.fixture
def upstream(tmp_path):
    """A repository that looks like sd-scripts."""
    folder = tmp_path / "upstream"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    for name in FILES:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"content of {name}\n")
    commit_all(folder, "upstream")
    return folder


@pytest.fixture
def project(tmp_path, upstream, monkeypatch):
    """A project that records `upstream` as its submodule, not yet fetched."""
    config = {"protocol.file.allow": "always"}
    monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(config)))
    for number, (key, value) in enumerate(config.items()):
        monkeypatch.setenv(f"GIT_CONFIG_KEY_{number}", key)
        monkeypatch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    folder = tmp_path / "project"
    folder.mkdir()
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    pin = git.output(upstream, "rev-parse", "HEAD")
    (folder / ".gitmodules").write_text(f'[submodule "sd-scripts"]\n\tpath = sd-scripts\n\turl = {upstream}\n')
    git.output(folder, "add", ".gitmodules")
    git.output(folder, "update-index", "--add", "--cacheinfo", f"160000,{pin},sd-scripts")
    git.output(folder, "commit", "-q", "-m", "project")
    return folder


def test_fetched_on_first_use_and_left_alone_then(project):
    tree = submodule.ensure(project)
    assert (tree / "large.bin").is_file()
    assert git.output(project, "status", "--porcelain") == ""
    (tree / "sdxl_train.py").write_text("mine")
    submodule.ensure(project)
    assert (tree / "sdxl_train.py").read_text() == "mine"


def lose_object(upstream, name):
    """Take the content of one file out of a repository, as a size-limited mirror does."""
    blob = git.output(upstream, "rev-parse", f"HEAD:{name}")
    (upstream / ".git" / "objects" / blob[:2] / blob[2:]).unlink()


def test_a_copy_without_its_large_files_is_used_without_them(project, upstream):
    lose_object(upstream, "large.bin")
    tree = submodule.ensure(project)
    assert (tree / "sdxl_train.py").is_file() and not (tree / "large.bin").exists()
    assert git.output(tree, "status", "--porcelain") == ""
    assert git.output(project, "status", "--porcelain") == ""


def test_a_plain_update_that_stopped_half_way_is_healed(project, upstream):
    lose_object(upstream, "large.bin")
    assert git.run(project, "submodule", "update", "--init").returncode != 0
    tree = submodule.ensure(project)
    assert git.output(tree, "status", "--porcelain") == ""


def test_processes_that_begin_together_fetch_it_once(project, upstream):
    """Two test workers, or two launches: git fails where another git holds its index."""
    lose_object(upstream, "large.bin")
    code = "import pathlib, sys; from extensions.upstream.submodule import ensure; ensure(pathlib.Path(sys.argv[1]))"
    together = [subprocess.Popen([sys.executable, "-c", code, str(project)], cwd=ROOT) for _ in range(4)]
    assert [process.wait(timeout=60) for process in together] == [0] * 4
    assert git.output(project, "status", "--porcelain") == ""


def test_a_copy_without_a_trainer_is_refused(project, upstream):
    lose_object(upstream, "fine_tune.py")
    with pytest.raises(UserError, match=r"no fine_tune\.py"):
        submodule.ensure(project)


def test_a_repository_that_never_answers_is_not_waited_for(project, tmp_path, monkeypatch):
    """A stand-in for ssh that sleeps, as a connection does that a firewall swallows."""
    (tmp_path / "ssh").write_text("#!/bin/sh\nexec sleep 30\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(tmp_path / "ssh"))
    git.output(project, "config", "--file", ".gitmodules", "submodule.sd-scripts.url", "ssh://nowhere/sd-scripts")
    monkeypatch.setattr(submodule, "SECONDS", 1)
    with pytest.raises(UserError, match="no answer within 1 s"):
        submodule.ensure(project)


def test_absent_and_not_fetchable_is_one_line(project, upstream):
    upstream.rename(upstream.with_name("gone"))
    with pytest.raises(UserError, match=r"sd-scripts/ is empty and could not be fetched") as error:
        submodule.ensure(project)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("damage", ["half cloned", "pack cut", "head lost"])
def test_a_damaged_clone_says_how_to_fetch_it_anew(project, upstream, damage):
    """And what it says, works."""
    git.output(upstream, "gc", "-q")
    tree = submodule.ensure(project)
    kept = project / ".git" / "modules" / "sd-scripts"
    for name in submodule.NEEDED:
        (tree / name).unlink()
    if damage == "pack cut":
        for pack in kept.glob("objects/pack/*.pack"):
            cut = pack.read_bytes()[:40]
            pack.unlink()  # a clone on the same disk has it by a hard link
            pack.write_bytes(cut)
    elif damage == "half cloned":
        for path in [*kept.glob("objects/pack/*")]:
            path.unlink()
    else:
        (kept / "HEAD").write_bytes(b"")
    with pytest.raises(UserError, match="sd-scripts/ is damaged.*fetch it anew: rm -rf sd-scripts ") as caught:
        submodule.ensure(project)
    assert "\n" not in str(caught.value)
    command = str(caught.value).partition("fetch it anew: ")[2]
    done = subprocess.run(["bash", "-c", command], cwd=project, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (submodule.ensure(project) / "sdxl_train.py").is_file()
