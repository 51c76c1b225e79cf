"""What memory or disk does not hold is refused in one line, before anything is begun."""

from types import SimpleNamespace

import pytest

from extensions.averages import pieces, room, snapshots
from extensions.base import saving
from extensions.base.errors import UserError
from tests.helpers.averaging import alone, models


def test_memory(monkeypatch):
    divided = pieces.divided(pieces.trained(models()), 2)
    assert room.bytes_of(divided, 3) == 70 * (4 + 4 + 3 * 4)
    room.require_memory(alone(), divided, 3)
    monkeypatch.setattr(room.psutil, "virtual_memory", lambda: SimpleNamespace(available=1500))
    with pytest.raises(
        UserError, match=r"averages of the weights take 0.0 GB of memory on a machine, 0.0 GB are free"
    ):
        room.require_memory(alone(), divided, 3)


def test_disk(tmp_path, monkeypatch):
    folder = tmp_path / "ema"
    room.begin_snapshots(alone(), folder, 3, 0, 10)
    assert not folder.exists()
    room.begin_snapshots(alone(), folder, 3, 2, 10)
    room.begin_snapshots(alone(), folder, 8, 0, 10)
    assert snapshots.launches(folder) == [3, 8]
    monkeypatch.setattr(saving.shutil, "disk_usage", lambda _: SimpleNamespace(free=79))
    with pytest.raises(UserError, match=r"0.0 GB free, 2 snapshots of the averages \(--ema_snapshots\) takes 0.0 GB"):
        room.begin_snapshots(alone(), folder, 9, 2, 10)
    assert snapshots.launches(folder) == [3, 8]
