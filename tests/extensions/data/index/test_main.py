"""`make index`: sources, place, policies, and exit codes."""

import json
import os
import subprocess
import sys

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data.index import __main__ as command
from extensions.data.index.layout import Source, beside, index_of
from extensions.data.index.reader import Index
from tests.helpers.index_cases import entry


def make(*words) -> None:
    assert command.main([str(word) for word in words]) == 0


def test_one_file(written, tmp_path, capsys):
    path = written([(key, entry()) for key in "ab"], "meta lat.json", latents="ab")
    make(path, f"--data={tmp_path / 'latents'}")
    assert "meta lat.json.index.arrow: 2 images" in capsys.readouterr().out
    assert len(Index(index_of(path))) == 2


def test_several_files_as_make_passes_them(written, tmp_path):
    one, two = written([("a", entry())], "one 1.json"), written([("b", entry()), ("a", entry())], "two.json")
    out = tmp_path / "new" / "all.index.arrow"
    both = f"'{one}' {two}"
    with pytest.raises(UserError, match="2 metadata files: name their index, OUT="):
        command.main([both])
    make(both, f"--out={out}", "--duplicates=first")
    index = Index(out)
    assert [index[row].key for row in range(2)] == ["a", "b"]
    assert index.facts.sources == [Source.of(one), Source.of(two)]


def test_what_is_current_is_left_and_the_rest_made_again(written, tmp_path, monkeypatch, capsys):
    path = written([("a", entry()), ("b", entry(7))], latents="a")
    make(path, "--bad_size=skip")
    plain, built = command.build, []
    monkeypatch.setattr(command, "build", lambda *arguments: built.append(arguments) or plain(*arguments))
    make(path, "--bad_size=skip")
    make(path, "--bad_size=skip", f"--data={tmp_path / 'latents'}")
    assert built == [] and "1 images (left out: 1 bad sizes)" in capsys.readouterr().out
    make(path, "--bad_size=skip", "--empty_text=skip")
    assert len(built) == 1, "other policies"
    os.utime(path, ns=(5, 5))
    make(path, "--bad_size=skip", "--empty_text=skip")
    assert len(built) == 2, "other metadata"
    index_of(path).write_bytes(b"")
    make(path, "--bad_size=skip", "--empty_text=skip")
    assert len(built) == 3, "no index"


def test_ids_that_get_latents_later_come_in_again(written, tmp_path):
    path = written([("a", entry()), ("b", entry())], latents="a")
    make(path, f"--data={tmp_path / 'latents'}", "--missing=skip")
    assert len(Index(index_of(path))) == 1
    (tmp_path / "latents" / "b.npz").touch()
    make(path, f"--data={tmp_path / 'latents'}", "--missing=skip")
    assert len(Index(index_of(path))) == 2


def test_a_folder_that_is_not_complete(written, tmp_path):
    path = written([("a", entry()), ("b", entry())], latents="a")
    make(path)
    with pytest.raises(UserError, match="1 of 2 ids have no latents"):
        command.main([str(path), f"--data={tmp_path / 'latents'}"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "which metadata"),
        (["none.json"], "no such metadata file: none.json"),
        (["none 1.json 'x"], "no such metadata file: none 1.json 'x"),
        (["a.json", "--missing=skip"], "missing=skip needs the folder"),
        (["a.json", "--duplicates=last"], "duplicates=last: choose one of refuse, first"),
        (["a.json", "--out=a.arrow"], "an index is named <name>.index.arrow"),
        (["a.index.arrow"], "is an index already"),
    ],
)
def test_bad_words_are_one_line(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said) as error:
        command.main(words)
    assert "\n" not in str(error.value)


def test_a_refusal_as_a_program_ends_with_2_one_line_and_the_report(written):
    path = written([("a", entry()), ("a", entry())])
    run = [sys.executable, "-m", "extensions.data.index", str(path)]
    done = subprocess.run(run, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    report = json.loads(beside(index_of(path), "report.json", hidden=False).read_text())
    assert (
        report["counts"]["duplicates"] == 1
        and str(beside(index_of(path), "report.json", hidden=False)) in done.stderr
    )
