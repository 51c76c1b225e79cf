"""The pages of a logbook: what stands on them, and what a second report does."""

import re

from extensions.base import paths
from extensions.base.errors import UserError
from extensions.report import __main__ as report
from extensions.report import charts, metrics, overview, records
from tests.helpers.run_folders import HOSTILE, folder_of, lines

BYTES = 700_000  # of a page of all runs, and of a run's: read from a disk at once


def text(site, name) -> str:
    return (site / name).read_text(encoding="utf-8")


def test_every_run_has_a_row_and_every_record_a_page(site):
    page = text(site, "index.html")
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>', page.split('id="runs"')[1].split("</table>")[0])
    launchers = [path.stem for path in paths.LAUNCHERS.glob("[0-9]*.sh")]
    assert set(launchers) <= {re.sub("<.*?>", "", row) for row in rows}
    links = re.findall(r'href="(run-[^"]+)"', page)
    assert len(set(links)) == 10 and all((site / link).is_file() for link in links)
    assert sorted(path.name for path in site.glob("run-*.html")) == sorted(set(links))


def test_a_page_has_marks_launches_samples_and_differences(site):
    page = text(site, "run-25022601.html")
    for said in ("roll-back", "resume", "step 100", "What differs from its parent", "Planned and measured"):
        assert said in page
    assert "HOSTILE" not in page and "&lt;script&gt;alert(1)" in page
    samples = re.findall(r'src="(pictures/[^"]+)"', text(site, "run-25022501.html"))
    assert len(samples) == 2 and all((site / name).is_file() for name in samples)
    assert "corrupt samples" in text(site, "run-25030601.html")


def test_everything_that_is_shown_is_there_and_small(site):
    for page in site.glob("*.html"):
        found = page.read_text(encoding="utf-8")
        for name in re.findall(r'(?:src|srcset|href)="([^"#]+)"', found):
            assert (site / name).is_file(), name
        assert len(found) < BYTES and "http://" not in found and "https://" not in found
    for chart in (site / "charts").iterdir():
        assert chart.stat().st_size < BYTES


def test_a_second_report_reads_and_draws_only_what_is_new(tmp_path, monkeypatch, capsys):
    logs, out = tmp_path / "logs", tmp_path / "out"
    monkeypatch.setattr(paths, "LOGS", logs)
    monkeypatch.setattr(overview, "launchers", lambda: ({}, ["none"]))
    for run in "ab":
        folder_of(logs, run, "20260101T000000Z", lines(1, 50, every=20))
    report.main(["report", "--out", str(out)])
    with open(logs / "a" / "20260101T000000Z" / "metrics.jsonl", "a") as file:
        file.write('{"optimizer_step": 51, "loss": 0.5}\n')
    taken, drawn = [], []
    read_on, draw = metrics.Metrics.read_on, charts.drawn
    monkeypatch.setattr(metrics.Metrics, "read_on", lambda *words: taken.append(read_on(*words)))
    monkeypatch.setattr(charts, "drawn", lambda chart: drawn.append(chart.title) or draw(chart))
    report.main(["report", "--out", str(out)])
    assert sorted(taken) == [0, 36] and len(drawn) == 2 and drawn[0].startswith("loss")
    assert capsys.readouterr().out.splitlines()[-1] == (out / "index.html").as_uri()


def test_launchers_that_cannot_be_read_are_said_and_the_records_shown(tmp_path, monkeypatch):
    def broken():
        raise UserError("train/1.sh states no facts")

    monkeypatch.setattr(overview.registry, "read_all", broken)
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    folder_of(tmp_path / "logs", "a", "20260101T000000Z", lines(1, 5))
    report.main(["report", "--out", str(tmp_path / "out")])
    page = text(tmp_path / "out", "index.html")
    assert "states no facts" in page and 'href="run-a.html"' in page


def test_the_record_of_a_damaged_folder_is_shown_with_what_is_wrong(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setattr(overview, "launchers", lambda: ({}, []))
    folder = folder_of(tmp_path / "logs", "a", "20260101T000000Z", lines(1, 5))
    (folder / "manifest.json").write_bytes(b"\xff{")
    with open(folder / "metrics.jsonl", "ab") as file:
        file.write(b"\0\0\xff\n")
    report.main(["report", "--out", str(tmp_path / "out")])
    page = text(tmp_path / "out", "run-a.html")
    assert "is not the record of a run" in page and "1 line(s) cannot be read" in page


def test_parents_are_the_recorded_ones_first(logs):
    record = next(each for each in records.find_all(logs) if each.key == "25022601")
    assert overview.parent_of(record, {}) == "25022501"
    assert HOSTILE.replace("/", "|") in {each.run for each in records.find_all(logs)}
