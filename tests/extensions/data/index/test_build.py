"""Building: a report of everything, one line for what is refused, and nothing half done under a final name."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data.index import build as module
from extensions.data.index import parts
from extensions.data.index.build import build
from extensions.data.index.layout import Source, beside, index_of
from extensions.data.index.policies import Policies
from extensions.data.index.reader import Index
from tests.helpers.index_cases import entry

pytestmark = pytest.mark.usefixtures("small_parts")
BAD = [("a", entry()), ("a", entry()), ("b", entry(7)), ("c", entry(tags="", caption="")), ("d", entry())]


def names_in(folder) -> set[str]:
    return {path.name for path in folder.iterdir()} - {"latents"}


def report_of(path) -> dict:
    return json.loads(beside(index_of(path), "report.json", hidden=False).read_text(encoding="utf-8"))


def test_an_index_and_its_report_and_nothing_else(written, tmp_path, capsys):
    path = written([(str(i), entry(64 * (1 + i % 2))) for i in range(9)], latents="012345678")
    facts = build([path], index_of(path), tmp_path / "latents", Policies())
    assert names_in(tmp_path) <= {
        "meta_lat.json", "meta_lat.json.index.arrow", "meta_lat.json.index.report.json",
        ".meta_lat.json.index.checked.json",
    }  # fmt: skip
    assert Index(index_of(path)).facts == facts and facts.sources == [Source.of(path)]
    report = report_of(path)
    assert report["entries"] == report["images"] == 9 and report["buckets"] == [[64, 64, 5], [128, 64, 4]]
    assert report["fingerprint"] == facts.fingerprint and report["sources"] == [asdict(Source.of(path))]
    assert "indexed 9 images" in capsys.readouterr().out


def test_all_that_is_refused_is_in_one_line_and_in_the_report(written, tmp_path):
    path = written(BAD, latents="abc")
    with pytest.raises(UserError) as error:
        build([path], index_of(path), tmp_path / "latents", Policies(empty_text="refuse"))
    said = str(error.value)
    assert "\n" not in said and "1 bad sizes (e.g. meta_lat.json: train_resolution of 'b' is [7, 64]" in said
    assert (
        "1 images without any text (e.g. c)" in said
        and f"1 ids without latents in {tmp_path}/latents (e.g. d)" in said
    )
    assert "1 ids that occur again (e.g. a)" in said
    assert 'POLICY="bad_size=skip empty_text=skip missing=skip duplicates=first"' in said
    report = report_of(path)
    assert report["counts"] == {"bad_size": 1, "empty_text": 1, "missing": 1, "duplicates": 1}
    assert report["images"] is None and report["examples"]["missing"] == ["d"]
    assert not index_of(path).exists()


def test_a_refused_build_is_repeated_with_other_policies_and_nothing_read_again(
    written, tmp_path, monkeypatch, capsys
):
    path = written(BAD, latents="abcd")
    with pytest.raises(UserError):
        build([path], index_of(path), tmp_path / "latents", Policies())
    monkeypatch.setattr(parts, "entries", lambda *_: pytest.fail("read again"))
    facts = build([path], index_of(path), tmp_path / "latents", Policies("first", "refuse", "skip"))
    assert facts.rows == 3 and facts.left_out == {"bad_size": 1, "duplicates": 1}
    assert "indexed 3 images (left out: 1 bad sizes, 1 ids that occur again)" in capsys.readouterr().out


def test_a_refusal_leaves_the_index_that_was_there(written, tmp_path):
    path = written([("a", entry())])
    build([path], index_of(path), None, Policies())
    before = index_of(path).read_bytes()
    with pytest.raises(UserError):
        build([written(BAD)], index_of(path), None, Policies())
    assert index_of(path).read_bytes() == before


def test_nothing_left_is_no_index(written):
    path = written([("a", entry(7))])
    with pytest.raises(UserError, match="no image is left"):
        build([path], index_of(path), None, Policies(bad_size="skip"))


def test_a_missing_source_and_a_missing_folder_are_told_before_anything_is_read(written, tmp_path, monkeypatch):
    path = written(BAD)
    monkeypatch.setattr(parts, "entries", lambda *_: pytest.fail("read"))
    with pytest.raises(UserError, match="no such metadata file: .*none.json"):
        build([path, tmp_path / "none.json"], index_of(path), None, Policies())
    with pytest.raises(UserError, match="no such folder of latents"):
        build([path], index_of(path), tmp_path / "none", Policies())


def test_what_cannot_be_written_is_one_line(written, monkeypatch):
    path = written([("a", entry())])
    monkeypatch.setattr(module.parts, "write_text", lambda *_: os.open("/no such folder/x", os.O_RDONLY))
    with pytest.raises(
        UserError, match="^/no such folder/x: No such file or directory; what was read is kept"
    ) as error:
        build([path], index_of(path), None, Policies())
    assert "\n" not in str(error.value)


@pytest.mark.disk_size("400k")
@pytest.mark.parametrize(("taken", "done"), [(300, 2), (150, 4)])
def test_a_disk_that_is_full_while_parts_or_the_index_are_written(written, small_disk, taken, done):
    """taken: KiB of other files, so that not all four parts of 40 KiB fit, or these do and the index does not."""
    path = written([(str(i), entry(tags="x" * 10_000)) for i in range(16)])
    index, filler = small_disk / "a.index.arrow", small_disk / "filler"
    filler.write_bytes(b"x" * 1024 * taken)
    with pytest.raises(UserError, match="No space left on device: up to twice") as error:
        build([path], index, None, Policies())
    assert "\n" not in str(error.value) and not index.exists()
    assert json.loads((beside(index, "part") / parts.PROGRESS).read_text())["parts"] == done
    filler.unlink()
    assert build([path], index, None, Policies()).rows == 16
    assert len(Index(index)) == 16 and not beside(index, "part").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from extensions.data.index import assemble, layout, parts
from extensions.data.index.build import build
from extensions.data.index.policies import Policies
assemble.ROWS = parts.ROWS = 4
plain = os.replace
def replace(one, other):
    if Path(other).name == sys.argv[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    plain(one, other)
os.replace = replace
build([Path(sys.argv[1])], Path(sys.argv[2]), None, Policies())
"""


@pytest.mark.parametrize("at", ["000002.arrow", "a.index.arrow"])
def test_a_build_that_is_killed_leaves_no_half_index_and_goes_on(written, tmp_path, at, capsys):
    path = written([(str(i), entry(tags=f"t{i}")) for i in range(14)])
    index = tmp_path / "a.index.arrow"
    killed = subprocess.run([sys.executable, "-c", KILLED, path, index, at], cwd=ROOT, check=False)
    assert killed.returncode == -9 and not index.exists() and beside(index, "part").is_dir()
    build([path], index, None, Policies())
    assert ("going on after 8 images" in capsys.readouterr().out) == (at == "000002.arrow")
    made = Index(index)
    assert [(made[row].key, made[row].tags) for row in range(14)] == [(str(i), f"t{i}") for i in range(14)]
    assert not beside(index, "part").exists()
