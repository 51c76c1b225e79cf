"""Run folders as nobody should leave them: a report says what is wrong with them on its pages, and shows the rest."""

import json
import os

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from extensions.base.manifest import Manifest
from extensions.base.reporting import exit_code_of
from extensions.report import __main__ as report
from tests.helpers.run_folders import folder_of, grid, lines

VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=9)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=9), inner, max_size=3)),
    max_leaves=6,
)
NAMES = [name for name in vars(Manifest()) if name != "version"]


def index(tmp_path) -> str:
    out = tmp_path / "out"
    assert exit_code_of(report.main, ["report", "--out", str(out)]) == 0
    assert (out / "run-sound.html").is_file()
    return (out / "index.html").read_text(encoding="utf-8")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=4))
def test_a_record_of_any_content(logs, tmp_path, changed):
    folder = logs / "odd" / "20260101T000000Z"
    if not folder.is_dir():
        folder_of(logs, "odd", folder.name, lines(1, 3))
    record = json.loads((logs / "sound" / "20260101T000000Z" / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(record | changed))
    index(tmp_path)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(figures=st.dictionaries(st.text(max_size=9), VALUES, max_size=4), loss=VALUES)
def test_metrics_of_any_content(logs, tmp_path, figures, loss):
    folder = logs / "odd" / "20260101T000000Z"
    if not folder.is_dir():
        folder_of(logs, "odd", folder.name, [])
    text = (
        json.dumps({"optimizer_step": 1, "loss": loss}) + "\n" + json.dumps({**figures, "optimizer_step": 2}) + "\n"
    )
    (folder / "metrics.jsonl").write_text(text)
    index(tmp_path)


def test_files_that_are_folders_loops_and_names_without_unicode(logs, tmp_path):
    folder = folder_of(logs, "odd", "20260101T000000Z", lines(1, 3))
    for name in ("metrics.jsonl", "train.log"):
        (folder / name).unlink()
        (folder / name).mkdir()
    (folder / "bad_samples.txt").mkdir()
    (folder / "samples").symlink_to(folder / "samples")
    (logs / "odd" / "loop").symlink_to(logs / "odd")
    os.mkdir(os.fsencode(logs) + b"/\xff\xfe")
    folder_of(logs, os.fsdecode(b"\xff\xfe2"), "20260101T000000Z", lines(1, 3), run="r")
    grid(folder_of(logs, "last", "20260101T000000Z", lines(1, 3)), 2, "\x1b[31m")
    page = index(tmp_path)
    assert "last" in page and "\\udcff" in page


@pytest.mark.parametrize(
    "words", [["report", "--out", "FILE"], ["compare", "sound", "nobody"], ["report", "sound/../x"]]
)
def test_what_is_refused_is_one_line_and_writes_nothing(logs, tmp_path, words, capsys):
    (tmp_path / "file").touch()
    before = sorted(tmp_path.rglob("*"))
    words = [str(tmp_path / "file") if word == "FILE" else word for word in words]
    if "--out" not in words:
        words += ["--out", str(tmp_path / "out")]
    assert exit_code_of(report.main, words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if "kept" not in path.parts] == before
