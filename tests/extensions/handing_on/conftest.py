"""Shared by the tests of what is handed on: records of runs, small checkpoints and what is made of them."""

from pathlib import Path

import pytest

from extensions.base import paths
from extensions.handing_on import export
from extensions.report import records
from tests.helpers import exporting, run_folders

MARKS = {"sdxl": ("v_pred", "ztsnr"), "sd2": ()}
V = exporting.FACTS | {"modelspec.prediction_type": "v"}


@pytest.fixture(autouse=True)
def no_records(monkeypatch, tmp_path):
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")


@pytest.fixture(scope="session")
def made(standins, tmp_path_factory):
    """{family: checkpoint} of small models that predict v, SDXL's to zero terminal SNR."""
    folder = tmp_path_factory.mktemp("checkpoints")
    exporting.apart(folder / "sdxl.safetensors", V, MARKS["sdxl"])
    exporting.checkpoint(standins, "sd2", folder / "sd2.safetensors", V)
    return {family: folder / f"{family}.safetensors" for family in MARKS}


@pytest.fixture(scope="session")
def exported(made, tmp_path_factory):
    """{(family, format): the export in float32}; one verified as it was written, the others by a slow test."""
    folder, found = tmp_path_factory.mktemp("exports"), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "LOGS", folder / "logs")
        for family, path in made.items():
            for kind in export.FORMATS:
                out = folder / f"{family}{'.safetensors' * (kind == 'safetensors')}"
                found[family, kind] = export.export(
                    exporting.wish(path, format=kind, out=out, verify=(family, kind) == ("sdxl", "diffusers"))
                )
    return found


@pytest.fixture
def logs(tmp_path, monkeypatch) -> Path:
    """Ten records, hostile names among them."""
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(records, "KEPT", tmp_path / "kept")
    return run_folders.logbook(tmp_path / "logs")
