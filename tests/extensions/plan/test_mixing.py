"""What an epoch of a mixture has of each source, in the plan, where their indexes are here."""

import pytest

from extensions.base.errors import UserError
from extensions.data import index
from extensions.plan import plan
from extensions.plan import tables as plan_tables
from tests.helpers import npz_sets


@pytest.fixture
def mixed(tmp_path):
    """A mixture of 12 and 20 images."""
    for name, count in (("a", 12), ("b", 20)):
        meta, data = npz_sets.make(tmp_path / name, count)
        index.open_for(meta, data)
    rows = [
        '[[source]]\nname = "a"\nin_json = "a/meta_lat.json"\nrepeats = 3\n',
        '[[source]]\nname = "b"\nin_json = "b/meta_lat.json"\nrepeats = 0.5\nfirst_step = 3\n',
    ]
    (tmp_path / "mix.toml").write_text("".join(rows))
    return tmp_path / "mix.toml"


def test_samples_are_those_of_the_shares(mixed, capsys):
    words = {"ARGS": f"--in_json={mixed}"}
    assert plan.read("25022601", words).images == 3 * 12 + 10
    plan_tables.show("25022601", words, lambda _: None)
    said = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "a 12 36 1 to the end" in said and "b 20 10 3 to the end" in said
    assert "optimizer steps 30 30" in said  # 46 samples on four processes with accumulation 4: 3 steps of 10 epochs


def test_without_indexes_nobody_knows_and_nothing_is_made(mixed):
    (mixed.parent / "a" / "meta_lat.json.index.arrow").unlink()
    before = sorted(mixed.parent.rglob("*"))
    assert plan.read("25022601", {"ARGS": f"--in_json={mixed}"}).images is None
    assert sorted(mixed.parent.rglob("*")) == before


def test_a_mixture_that_a_launch_would_refuse(tmp_path):
    (tmp_path / "mix.toml").write_text("x = 1")
    with pytest.raises(UserError, match="is made of"):
        plan.read("25022601", {"ARGS": f"--in_json={tmp_path / 'mix.toml'}"})
