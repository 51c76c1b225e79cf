"""All ids of what was found, in files that EXCLUDE= reads; a list in use is never written over."""

import json

import numpy as np
import pytest

from extensions.base.errors import UserError
from extensions.data import index as opening
from extensions.data.index import listing, parts, verdict
from extensions.data.index.build import build
from extensions.data.index.layout import beside, index_of
from extensions.data.index.policies import Policies
from tests.helpers.index_cases import entry

pytestmark = pytest.mark.usefixtures("small_parts")
BAD = [("a", entry()), ("a", entry()), ("b 1", entry(7)), ("ü", entry(tags="", caption="")), ("d", entry())]


def list_of(path, name):
    return beside(index_of(path), f"{name}.txt", hidden=False)


def refused(path, folder, **policies) -> str:
    with pytest.raises(UserError) as error:
        build([path], index_of(path), folder, Policies(**policies))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_every_id_of_every_kind_has_its_line_and_the_message_says_where(written, tmp_path):
    path = written(BAD, latents=["a", "b 1", "ü"])
    said = refused(path, tmp_path / "latents", empty_text="refuse")
    for kind, ids in {"duplicates": "a\n", "bad_size": "b 1\n", "empty_text": "ü\n", "missing": "d\n"}.items():
        assert list_of(path, kind).read_text(encoding="utf-8") == ids and str(list_of(path, kind)) in said
    report = json.loads(beside(index_of(path), "report.json", hidden=False).read_text())
    assert report["lists"]["missing"] == str(list_of(path, "missing"))


def test_more_than_the_reports_examples_in_the_order_of_the_metadata(written, tmp_path, monkeypatch):
    monkeypatch.setattr(verdict, "EXAMPLES", 2)
    path = written([(f"{number}", entry()) for number in range(19)], latents=["0", "7", "8"])
    refused(path, tmp_path / "latents")
    gone = [number for number in range(19) if number not in (0, 7, 8)]
    assert list_of(path, "missing").read_text().split() == [str(number) for number in gone]


def test_what_is_left_out_is_listed_and_said_and_what_holds_no_more_goes(written, tmp_path, capsys):
    path = written([("a", entry()), ("b", entry())], latents="a")
    build([path], index_of(path), tmp_path / "latents", Policies(missing="skip"))
    assert f"the ids that were left out are listed in {list_of(path, 'missing')}\n" in capsys.readouterr().out
    assert list_of(path, "missing").read_text() == "b\n"
    (tmp_path / "latents" / "b.npz").touch()
    build([path], index_of(path), tmp_path / "latents", Policies())
    assert not list_of(path, "missing").exists() and "left out" not in capsys.readouterr().out


def test_a_list_is_left_out_as_it_is_and_not_written_over_while_an_index_is_made_without_it(written, tmp_path):
    data = tmp_path / "latents"
    path = written([(key, entry()) for key in "abcd"], latents="abc")
    refused(path, data)
    given = list_of(path, "missing")
    build([path], index_of(path), data, Policies(), [given])
    assert len(opening.open_for(path, data)) == 3 and given.read_text() == "d\n"
    (data / "c.npz").unlink()
    for exclude in ([given], []):  # the index at hand is made without it, also where no list is given
        with pytest.raises(UserError, match=r"index\.missing\.2\.txt"):
            build([path], index_of(path), data, Policies(), exclude)
        assert given.read_text() == "d\n" and "c\n" in list_of(path, "missing.2").read_text()
    (data / "c.npz").touch()
    assert len(opening.open_for(path, data)) == 3, "its list says what it said"
    build([path], index_of(path), data, Policies(), [given])
    assert given.exists() and not list_of(path, "missing.2").exists()


def test_a_list_takes_no_memory_for_what_it_lists(written, monkeypatch):
    """One part at a time: its keys are gone before the next are read."""
    path = written([(f"{number}", entry()) for number in range(12)])
    read = parts.read([path], index_of(path))
    opened = []
    plain = parts.Parts.__getitem__
    monkeypatch.setattr(parts.Parts, "__getitem__", lambda self, n: opened.append(n) or plain(self, n))
    pieces = listing.lines(read, np.ones(12, bool))
    assert next(pieces) == b"0\n1\n2\n3\n" and opened == [0]
