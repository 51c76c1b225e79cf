"""The data of a recorded run that was trained on a mixture are held against its sources' indexes as they are."""

import pytest

from extensions.base.manifest import Manifest
from extensions.data import index
from extensions.handing_on import evidence
from tests.helpers import npz_sets


@pytest.fixture
def mixed(tmp_path):
    """(record, folder) of a mixture of two sets."""
    for name, count in (("a", 5), ("b", 4)):
        npz_sets.make(tmp_path / name, count)
    rows = [
        f'[[source]]\nname = "{n}"\nin_json = "{n}/meta_lat.json"\ntrain_data_dir = "{n}/latents"\n' for n in "ab"
    ]
    (tmp_path / "mix.toml").write_text("".join(rows))
    known = index.open_for(tmp_path / "mix.toml", None).fingerprint
    flags = {"in_json": str(tmp_path / "mix.toml")}
    return Manifest(flags=flags, data_fingerprint=f"{known} without 0123"), tmp_path


def test_the_same_other_and_gone(mixed):
    record, folder = mixed
    assert evidence.of_data(record).verdict == evidence.SAME
    text = (folder / "mix.toml").read_text()
    (folder / "mix.toml").write_text(text + "repeats = 2\n")
    assert evidence.of_data(record).verdict == evidence.DIFFERS
    (folder / "mix.toml").write_text(text)
    (folder / "b" / "meta_lat.json.index.arrow").unlink()
    line = evidence.of_data(record)
    assert line.verdict == evidence.GONE and line.said == "the index of b is not there"
    (folder / "mix.toml").write_text("x = 1")
    assert "is made of" in evidence.of_data(record).said
