"""Packs that are damaged, half there or missing, and partial clones without a network. Real git.

Each test has repositories of its own, and a pack that is no other repository's: git links what it clones on one disk.
"""

import os
import resource
import shutil
import subprocess
import sys
import time

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.upstream import git, reading, submodule, tree

ANEW = "fetch it anew: rm -rf sd-scripts .git/modules/sd-scripts && git submodule update --init"
SECONDS = 10  # of computing, which a busy machine does not lengthen; what waits for a network is seen by `silent`


def damage(project, how):
    """Damage the pack; its work tree stays whole."""
    kept = project / ".git" / "modules" / "sd-scripts"
    pack, index = next(kept.glob("objects/pack/*.pack")), next(kept.glob("objects/pack/*.idx"))
    assert pack.stat().st_nlink == 1
    content = bytearray(pack.read_bytes())
    if how == "a file":
        listed = git.output(project, "verify-pack", "-v", str(index)).splitlines()
        blob = git.output(project / "sd-scripts", "rev-parse", "HEAD:library/train_util.py")
        start = next(int(line.split()[4]) for line in listed if line.startswith(blob))
        content[start + 6] ^= 0x55
    elif how == "all":
        content[12:-20] = bytes(len(content) - 32)
    elif how == "cut":
        del content[len(content) // 2 :]
    elif how == "empty":
        content.clear()
    pack.write_bytes(content)
    for path in {"no index": [index], "no pack": [pack], "half fetched": [index, pack]}.get(how, []):
        path.unlink()
    if how == "half fetched":
        (kept / "objects" / "pack" / "tmp_pack_x").write_bytes(content[: len(content) // 2])


HOW = ("a file", "all", "cut", "empty", "no index", "no pack", "half fetched")


def bytes_of(folder):
    """{path: size} of all files below a folder."""
    return {path: path.lstat().st_size for path in folder.rglob("*") if not path.is_dir()}


def computed():
    """Seconds that the processes which ended have computed."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.mark.parametrize("how", HOW)
def test_a_damaged_pack_is_one_line_and_asks_nobody(cloned, silent, tmp_path, how):
    """Whether the work tree is there, was half checked out, or is gone."""
    asked = silent(cloned)
    damage(cloned, how)
    before, began = bytes_of(cloned), computed()
    with pytest.raises(UserError, match=r"^sd-scripts/ is damaged \(") as caught:
        tree.fresh_worktree(submodule.ensure(cloned), tmp_path / "worktree", submodule.pin(cloned))
    for name in submodule.NEEDED:
        (cloned / "sd-scripts" / name).unlink()
    with pytest.raises(UserError, match=r"^sd-scripts/ is damaged \(") as half:
        submodule.ensure(cloned)
    shutil.rmtree(cloned / "sd-scripts")
    (cloned / "sd-scripts").mkdir()
    with pytest.raises(UserError, match=r"^sd-scripts/ is damaged \(") as gone:
        submodule.ensure(cloned)
    for error in map(str, (caught.value, half.value, gone.value)):
        assert error.endswith(ANEW) and "\n" not in error
    assert computed() - began < SECONDS and not asked.exists()
    assert {path: size for path, size in bytes_of(cloned).items() if before.get(path) != size} == {}


def test_a_damaged_pack_is_one_line_of_the_verb(cloned, silent):
    for name in ("extensions", "patches"):
        shutil.copytree(ROOT / name, cloned / name, ignore=shutil.ignore_patterns("__pycache__"))
    (cloned / "sd-scripts-runtime").mkdir()
    asked = silent(cloned)
    damage(cloned, "a file")
    words = [sys.executable, "-m", "extensions.upstream.patches", "build"]
    variables = {**os.environ, "PYTHONPATH": str(cloned)}
    done = subprocess.run(words, cwd=cloned, env=variables, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 2 and not asked.exists()
    assert done.stderr.startswith("error: sd-scripts/ is damaged (") and done.stderr.endswith(f"{ANEW}\n")
    assert done.stderr.count("\n") == 1


@pytest.fixture
def partial(project, upstream):
    """A project whose submodule was cloned without any file's content, and nothing is checked out."""
    for name in ("uploadpack.allowFilter", "uploadpack.allowAnySHA1InWant"):
        git.output(upstream, "config", name, "true")
    kept, folder = project / ".git" / "modules" / "sd-scripts", project / "sd-scripts"
    kept.parent.mkdir()
    words = ("--filter=blob:none", "--no-checkout", "--separate-git-dir", str(kept))
    assert git.fetch(project, "clone", "-q", *words, f"file://{upstream}", str(folder)).returncode == 0
    git.output(folder, "config", "core.worktree", "../../../sd-scripts")
    git.output(project, "config", "submodule.sd-scripts.url", f"file://{upstream}")
    return project


def test_a_partial_clone_without_a_network_is_one_line(partial, silent):
    silent(partial)
    before, began = bytes_of(partial), time.monotonic()
    with pytest.raises(UserError, match="^sd-scripts/ is a partial clone, not all of it here, and") as caught:
        submodule.ensure(partial)
    assert str(caught.value).endswith("(no answer within 0.5 s); go online once and run: git submodule update --init")
    assert sum(bytes_of(partial).values()) == sum(before.values())
    assert time.monotonic() - began < 6 * SECONDS  # a busy machine; git alone would wait for 30 s, and once more


def test_a_partial_clone_whose_files_are_gone_from_here_builds_nothing(partial, silent, tmp_path):
    """Its work tree is whole, as after a checkout; only the objects are not there."""
    for name in submodule.NEEDED:
        (partial / "sd-scripts" / name).parent.mkdir(exist_ok=True)
        (partial / "sd-scripts" / name).write_text("there\n")
    asked = silent(partial)
    with pytest.raises(UserError, match=r"is damaged \(it has no .*\.py\); fetch it anew: "):
        tree.fresh_worktree(submodule.ensure(partial), tmp_path / "worktree", submodule.pin(partial))
    assert not asked.exists()


def test_a_partial_clone_with_its_network_is_fetched(partial):
    folder = submodule.ensure(partial)
    assert (folder / "sdxl_train.py").read_text() == "content of sdxl_train.py\n"
    assert git.output(partial, "status", "--porcelain") == ""


def test_a_pin_that_is_not_here_and_cannot_be_fetched(cloned, silent):
    silent(cloned)
    git.output(cloned, "update-index", "--cacheinfo", f"160000,{'1' * 40},sd-scripts")
    with pytest.raises(UserError, match="^sd-scripts/ does not hold 111111111111 and could not be fetched"):
        submodule.ensure(cloned)


def test_the_damaged_is_not_fetched_for(cloned, upstream):
    """A pin that moved, and a pack of which another file is damaged: git would fetch, and keep what is damaged."""
    (upstream / "new.py").write_text("new\n")
    git.output(upstream, "add", "new.py")
    git.output(upstream, "commit", "-q", "-m", "more")
    pin = git.output(upstream, "rev-parse", "HEAD")
    git.output(cloned, "update-index", "--cacheinfo", f"160000,{pin},sd-scripts")
    damage(cloned, "a file")
    with pytest.raises(UserError, match=r"^sd-scripts/ is damaged .*fetch it anew: "):
        submodule.ensure(cloned)


def test_a_clone_without_its_work_tree_gets_it_without_a_network(cloned, silent):
    asked = silent(cloned)
    shutil.rmtree(cloned / "sd-scripts")
    (cloned / "sd-scripts").mkdir()
    assert submodule.is_present(submodule.ensure(cloned)) and not asked.exists()


def test_git_that_does_not_end_is_ended_with_what_it_has_started(tmp_path):
    started = tmp_path / "started"
    with pytest.raises(UserError, match=r"git -c alias\.wait=.* did not end within 1 s"):
        git.run(tmp_path, "-c", f"alias.wait=!sleep 60 & echo $! > '{started}'; wait", "wait", timeout=1)
    with pytest.raises(ProcessLookupError):
        for _ in range(100):
            os.kill(int(started.read_text()), 0)
            time.sleep(0.05)


def test_reading_writes_nothing(cloned):
    kept = cloned / ".git" / "modules" / "sd-scripts"
    before = {path: path.lstat().st_mtime_ns for path in kept.rglob("*")}
    pin = submodule.pin(cloned)
    assert reading.commit_of(kept, "no-such", "HEAD") == pin == reading.commit_of(cloned / "sd-scripts", pin)
    reading.require_sound(kept)
    assert reading.require_whole(kept, pin) == []
    assert {path: path.lstat().st_mtime_ns for path in kept.rglob("*")} == before


def test_what_is_no_repository_is_none(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty is no git repository"):
        reading.has_commit(tmp_path / "empty", "HEAD")
