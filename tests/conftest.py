"""Shared by all tests: what needs upstream is skipped, with the reason, where upstream is not."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

from extensions import loop, manager
from extensions.base.errors import UserError
from extensions.base.paths import SUBMODULE
from extensions.upstream import submodule, tree

# The suite must not depend on how the caller launches runs.
for name in (
    "ARGS",
    "CPU",
    "DRY_RUN",
    "FORCE",
    "GPUS",
    "LOGS_SHARED",
    "PROFILE",
    "RUN",
    "TINY_STEPS",
    "TRAINER",
    "SD_SCRIPTS_REF",
    "EXTENSIONS_TRACE",
    "NNODES",
    "NODE_RANK",
    "MASTER_ADDR",
    "MASTER_PORT",
    "NUMA",
    "RAMDISK",
    "RAMDISK_DIR",
    "RESUME",
    "STEP",
    "VARIANTS",
    "SESSION",
):
    os.environ.pop(name, None)
os.environ["HF_HUB_OFFLINE"] = "1"
# No example fails for its time alone: machines differ. Where CI is set, hypothesis draws the same examples each time,
# so that a change is not refused for what an older one left; elsewhere each run tries new ones.
settings.register_profile("project", settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None)
settings.load_profile("project")
SLOW_TIMEOUT = 3600  # seconds; that of the other tests is in pyproject.toml


def upstream_missing() -> str:
    """Why tests against upstream cannot run; empty when they can."""
    try:
        submodule.ensure()
    except UserError as error:
        return str(error)
    return ""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.timeout(SLOW_TIMEOUT))
    marked = [item for item in items if item.get_closest_marker("upstream")]
    reason = upstream_missing() if marked else ""
    if reason:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def no_plugins(monkeypatch):
    """A trainer that ran in this process leaves plugins and defaults behind; the next test begins without them."""
    monkeypatch.setattr(manager, "_current", manager.Manager())
    monkeypatch.setattr(manager, "_defaults", {})
    monkeypatch.setattr(loop, "_run", None)


@pytest.fixture(autouse=True)
def no_handlers():
    """Nor its signal handlers: a process that a later test forks would go on when it is asked to end."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def patched() -> Path:
    """The patched tree, on sys.path: `import library` is upstream's."""
    folder = tree.ensure()
    sys.path.insert(0, str(folder))
    return folder


@pytest.fixture(scope="session")
def pristine() -> Path:
    """The untouched submodule."""
    submodule.ensure()
    return SUBMODULE


@pytest.fixture(scope="session")
def standins() -> dict[str, Path]:
    """Stand-in models, data and tokenizers, in their usual place."""
    from extensions.launch import tiny

    return tiny.standins()


@pytest.fixture
def small_disk(tmp_path, request):
    """A tmpfs mounted for the test, with a space in its path; 64k, or what the mark `disk_size` says."""
    mark = request.node.get_closest_marker("disk_size")
    folder = tmp_path / "small disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mark.args[0] if mark else '64k'}", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no tmpfs can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)  # what is tested may still have files open
