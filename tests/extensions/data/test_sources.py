"""A mixture says what it is made of; what cannot be meant is one line that names the file and the source."""

from pathlib import Path

import pytest

from extensions.base.errors import UserError
from extensions.data import sources

ONE = '[[source]]\nname = "a"\nin_json = "a.json"\n'


def written(tmp_path, text: str) -> Path:
    path = tmp_path / "mix.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_sources_are_read_relative_to_their_file(tmp_path):
    text = (
        ONE + 'train_data_dir = "/pack"\nrepeats = 3\nlast_step = 5\n[[source]]\nname = "é"\nin_json = "/b.arrow"\n'
    )
    first, second = sources.read(written(tmp_path, text + "repeats = 0.5\nfirst_step = 3\n"), "/latents")
    assert (first.metadata, first.folder, first.repeats) == (tmp_path / "a.json", Path("/pack"), 3)
    assert (second.name, second.metadata, second.folder, second.repeats) == (
        "é",
        Path("/b.arrow"),
        Path("/latents"),
        0.5,
    )
    assert [first.takes_part(step) for step in (0, 4, 5)] == [True, True, False]
    assert [second.takes_part(step) for step in (0, 1, 2, 9**9)] == [False, False, True, True]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("", "is made of .*source.* tables and nothing else"),
        ("x = 1\n" + ONE, "is made of"),
        ("source = 5", "is made of"),
        ("[[source", "is no TOML"),
        ('[[source]]\nname = "a"\n', "source 1 has no in_json"),
        ('[[source]]\nin_json = "a"\n', "source 1 has no name"),
        (ONE + "repeat = 2", "source 1: repeat is unknown; there are name"),
        (ONE + 'repeats = "2"', "source 1: repeats is '2', of another kind"),
        (ONE + "repeats = true", "repeats is True, of another kind"),
        (ONE + "repeats = 0", "repeats is 0.0; give a number above 0"),
        (ONE + "weight = -1", "weight is -1.0; give a number above 0"),
        (ONE + "weight = nan", "is nan; give a number|is no TOML|of another kind"),
        (ONE + "weight = 1\nrepeats = 1", "has repeats and a weight"),
        (ONE + "weight = 1\n" + ONE.replace('"a"', '"b"'), "some sources have a weight and some have none"),
        (ONE + ONE, "two sources are named a"),
        (ONE + "first_step = 0", "optimizer steps 0 to None are none"),
        (ONE + "first_step = 5\nlast_step = 4", "optimizer steps 5 to 4 are none"),
        (ONE + "first_step = 2", "no source takes part in optimizer step 1;"),
        (ONE + "last_step = 9", "no source takes part in optimizer step 10;"),
    ],
)
def test_what_cannot_be_meant(tmp_path, text, line):
    with pytest.raises(UserError, match=line):
        sources.read(written(tmp_path, text), "/latents")


def test_no_folder_and_no_file(tmp_path):
    with pytest.raises(UserError, match="source 1 has no train_data_dir, and the run none"):
        sources.read(written(tmp_path, ONE), None)
    with pytest.raises(UserError, match="no such mixture"):
        sources.read(tmp_path / "none.toml", None)
