"""The verbs as make calls them: what is refused, in one line, and what is written."""

import pytest

from extensions.base import paths
from extensions.base.errors import UserError
from extensions.report import __main__ as report
from extensions.report import overview
from tests.helpers.run_folders import folder_of, lines


@pytest.fixture(autouse=True)
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(overview, "launchers", lambda: ({}, []))
    for run in ("a", "b"):
        folder_of(tmp_path / "logs", run, "20260101T000000Z", lines(1, 9))
    return tmp_path / "logs"


@pytest.mark.parametrize(
    "words", [["report", "x"], ["compare", "a"], ["compare", ""], ["compare", "a x"], ["watch", ""]]
)
def test_what_cannot_be_shown_is_refused_and_nothing_written(tmp_path, words):
    with pytest.raises(UserError):
        report.main([*words, "--out", str(tmp_path / "out")])
    assert not list((tmp_path / "out").glob("*.html"))


def test_one_run_is_written_anew_and_the_others_stay(tmp_path, capsys):
    out = tmp_path / "out"
    report.main(["report", "--out", str(out)])
    (out / "run-b.html").write_text("as it was")
    report.main(["report", "a", "--out", str(out)])
    assert (out / "run-b.html").read_text() == "as it was"
    assert capsys.readouterr().out.splitlines()[-1] == (out / "run-a.html").as_uri()


def test_a_run_from_elsewhere_on_the_disk(tmp_path):
    folder = folder_of(tmp_path / "elsewhere", "c", "20260101T000000Z", lines(1, 9))
    report.main(["report", str(folder), "--out", str(tmp_path / "out")])
    assert 'href="run-c.html"' in (tmp_path / "out" / "index.html").read_text()


def test_without_any_record_there_is_an_index(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOGS", tmp_path / "none")
    report.main(["report", "--out", str(tmp_path / "out")])
    assert (tmp_path / "out" / "index.html").is_file()


def test_full_size_comes_before_tiny(logs):
    folder_of(logs, "a", "20260102T000000Z", lines(1, 9), profile="tiny")
    found = report.newest_of(report.records.find("a", logs))
    assert [record.profile for record in found] == [""]
