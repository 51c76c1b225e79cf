"""Plans do not depend on the caller's variables, nor on this machine's cards."""

import pytest

from extensions.plan import plan

VARIABLES = ("ARGS", "GPUS", "PROFILE", "TRAINER", "VRAM", "IMG_S", "IMAGES", "NNODES")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(plan.shutil, "which", lambda _: None)
