"""The submodule on machines that have it, lack it, or have a copy without its large files. Real git."""

import subprocess
import sys

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.upstream import git, submodule, tree


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
    monkeypatch.setattr(submodule, "ANSWER", 1)
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


def test_a_program_that_the_copy_lost_is_not_left_out_of_a_worktree(project, upstream, tmp_path):
    source = submodule.ensure(project)
    git.output(source, "config", "remote.origin.promisor", "true")
    blob = git.output(upstream, "rev-parse", "HEAD:library/train_util.py")
    (project / ".git" / "modules" / "sd-scripts" / "objects" / blob[:2] / blob[2:]).unlink()
    with pytest.raises(UserError, match=r"is damaged \(it has no library/train_util\.py\); fetch it anew: "):
        tree.fresh_worktree(source, tmp_path / "worktree", submodule.pin(project))


def test_git_that_does_not_end_is_ended(tmp_path):
    with pytest.raises(UserError, match=r"git -c alias\.wait=!sleep 9 in .* did not end within 0\.2 s"):
        git.run(tmp_path, "-c", "alias.wait=!sleep 9", "wait", timeout=0.2)


def test_no_git_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="git is not installed"):
        git.output(tmp_path, "status")


def test_what_is_no_utf_8_comes_back_readable(tmp_path):
    git.output(tmp_path, "init", "-q")
    (tmp_path / "a").write_bytes(b"caf\xe9\n")
    git.output(tmp_path, "add", "a")
    assert "+caf\\xe9\n" in git.run(tmp_path, "diff", "--cached").stdout
