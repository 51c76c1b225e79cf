"""Small metadata files and what an index of them says."""

import json
from contextlib import contextmanager
from pathlib import Path

import pytest

from extensions.data.index import assemble, checked, layout, parts, verdict


@pytest.fixture
def small_parts(monkeypatch):
    """Record batches of 4 rows, so that few rows fill several."""
    for module in (assemble, layout, parts):
        monkeypatch.setattr(module, "ROWS", 4)


@pytest.fixture
def shown(monkeypatch):
    """What a scan and a verdict tell of their progress: {(what, total, unit): [(done, units), …]}."""
    told = {}

    @contextmanager
    def progress(*task):
        yield lambda done, units: told.setdefault(task, []).append((done, units))

    for module in (checked, verdict):
        monkeypatch.setattr(module, "progress", progress)
    return told


@pytest.fixture
def written(tmp_path):
    """A function that writes metadata: a dict, pairs (ids may repeat), or text; latents for the ids on demand."""

    def write(content, name="meta_lat.json", latents=()) -> Path:
        path = tmp_path / name
        if isinstance(content, list):
            content = "{" + ", ".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in content) + "}"
        path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        (tmp_path / "latents").mkdir(exist_ok=True)
        for key in latents:
            (tmp_path / "latents" / f"{key}.npz").touch()
        return path

    return write
