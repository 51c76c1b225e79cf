"""A project and a repository that looks like sd-scripts, both of the test's own. Real git."""

import shutil

import pytest

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
    git.output(folder, "init", "-q")
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
    git.output(folder, "init", "-q")
    pin = git.output(upstream, "rev-parse", "HEAD")
    (folder / ".gitmodules").write_text(f'[submodule "sd-scripts"]\n\tpath = sd-scripts\n\turl = {upstream}\n')
    git.output(folder, "add", ".gitmodules")
    git.output(folder, "update-index", "--add", "--cacheinfo", f"160000,{pin},sd-scripts")
    git.output(folder, "commit", "-q", "-m", "project")
    return folder


@pytest.fixture
def silent(tmp_path, monkeypatch):
    """Makes a project's upstream a host that never answers; the file that is there once somebody has asked it."""
    asked = tmp_path / "asked"
    (tmp_path / "ssh").write_text(f"#!/bin/sh\ntouch '{asked}'\nexec sleep 30\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("GIT_SSH", str(tmp_path / "ssh"))
    monkeypatch.setattr(submodule, "ANSWER", 0.5)

    def silence(project):
        git.output(project, "config", "submodule.sd-scripts.url", "ssh://nowhere/sd-scripts")
        kept = project / ".git" / "modules" / "sd-scripts"
        if kept.exists():
            git.output(
                kept, "config", "--file", str(kept / "config"), "remote.origin.url", "ssh://nowhere/sd-scripts"
            )
        return asked

    return silence


@pytest.fixture
def cloned(project, upstream):
    """The same with the submodule fetched, its objects in one pack of its own, marked as a partial clone."""
    git.output(upstream, "gc", "-q")
    submodule.ensure(project)
    kept = project / ".git" / "modules" / "sd-scripts"
    git.output(project / "sd-scripts", "config", "remote.origin.promisor", "true")
    for path in kept.glob("objects/pack/*"):  # a clone on the same disk has them by hard links
        shutil.copyfile(path, path.with_name("own"))
        path.with_name("own").replace(path)
    next(kept.glob("objects/pack/*.pack")).with_suffix(".promisor").touch()  # git marks it so
    return project
