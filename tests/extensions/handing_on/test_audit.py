"""Every disagreement of the accounts, computed anew, has a reason, and every reason a disagreement."""

import csv
import json
import re

import pytest
from markdown_it import MarkdownIt

from extensions.base.reporting import exit_code_of
from extensions.handing_on import audit
from extensions.logbook import header, registry
from tests.helpers.expected_runs import RUNS

# What `# Record:`, which a person has written, says of a run, and the topics that it must be found in.
SAID = {
    r"captions were cut at 75 tokens": {"text"},
    r"log name of|logged as|log name of \d+": {"log name"},
    r"rates \S+ \+ \S+ instead of": {"rate of the U-Net", "rate of the text encoders"},
    r"OMP_NUM_THREADS": {"threads"},
    r"GA 16 instead of 4": {"accumulation"},
    r"cautious=True": {"optimizer"},
    r"a later checkpoint than": {"begins with"},
    r"then \d+ epochs from|then 5 epochs": {"epochs", "base"},
    r"no --train_text_encoder|^--train_text_encoder|U-Net alone": {"text encoders"},
    r"^--learning_rate=0": {"rate of the U-Net"},
    r"6k metadata": {"data"},
    r"metadata on the ramdisk and latents on disk": {"RAM disk"},
    r"of 15560 steps|a quarter of|3 steps an epoch": {"optimizer steps"},
    r"no result": {"account"},
    r"no flag set a shift": {"timestep shift", "--flow_uniform_shift"},
    r"--contrastive_flow_matching": {"--contrastive_flow_matching"},
    r"rate \S+ instead of": {"rate of the U-Net"},
    r"-50\.safetensors|-75\.safetensors": {"base"},
    r"\b10 epochs,|50 epochs from": {"epochs"},
}


@pytest.fixture
def reasons(tmp_path, monkeypatch):
    """A copy of the reasons, to be changed."""
    path = tmp_path / "reasons.json"
    path.write_text(audit.REASONS.read_text())
    monkeypatch.setattr(audit, "REASONS", path)
    audit.reasons.cache_clear()
    yield path
    audit.reasons.cache_clear()


def changed(path, change) -> list[str]:
    found = json.loads(path.read_text())
    change(found)
    path.write_text(json.dumps(found))
    audit.reasons.cache_clear()
    return list(audit.unexplained())


def test_each_disagreement_has_a_reason_and_each_reason_a_disagreement():
    assert list(audit.unexplained()) == []


def test_there_are_all_runs_and_many_disagreements():
    assert set(audit.logbook()) == set(RUNS)
    found = audit.disagreements()
    assert len(found) > 100 and {topic.run for topic in found} >= set(RUNS) - {"24121001"}


@pytest.mark.parametrize("run", RUNS)
def test_what_a_person_has_found_is_found(run):
    said = header.read(registry.LAUNCHERS / f"{run}.sh").record
    wanted = set().union(*(topics for pattern, topics in SAID.items() if re.search(pattern, said)))
    assert wanted <= {topic.name for topic in audit.topics(audit.logbook()[run]) if topic.disagrees}


def test_a_reason_that_is_taken_away_is_missed(reasons):
    (line,) = changed(reasons, lambda found: found.remove(next(r for r in found if r["topics"] == ["last step"])))
    assert line.startswith("25041301: last step: no reason in reasons.json for 1EP / - / - / 777917")


def test_a_reason_for_nothing_is_said(reasons):
    more = {"runs": ["24121001", "*"], "topics": ["seed"], "reason": "none"}
    found = changed(reasons, lambda found: found.append(more))
    assert found == [f"{run}: seed: reasons.json has a reason, and the accounts agree" for run in ("24121001", "*")]


def test_a_launcher_that_says_something_else_is_noticed(monkeypatch):
    """As if somebody had edited it."""
    of = audit.accounts.of

    def edited(run):
        found = of(run)
        if run.run == "25022601":
            found["launcher"] |= {"seed": "1", "accumulation": "8"}
            found["launcher"].pop("--enable_wildcard")
        return found

    monkeypatch.setattr(audit.accounts, "of", edited)
    found = sorted(line.split(": ")[1] for line in audit.unexplained())
    assert found == ["--enable_wildcard", "accumulation", "seed"]


def test_two_reasons_for_one_are_refused(reasons, capsys):
    changed_now = json.loads(reasons.read_text())
    reasons.write_text(json.dumps([*changed_now, changed_now[0]]))
    audit.reasons.cache_clear()
    assert exit_code_of(audit.main, []) == 2
    assert "has two reasons for" in capsys.readouterr().err


def test_one_run_in_a_terminal(capsys):
    assert exit_code_of(audit.main, ["25012301"]) == 0
    said = capsys.readouterr().out
    assert re.search(r"^≠  text encoders +only +only +only +on$", said, re.M)
    assert "≠ text encoders: the logbook's TTE only" in said and "\n   base " in said


def test_files_of_all_runs(tmp_path, capsys):
    assert exit_code_of(audit.main, ["--out", str(tmp_path / "a.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").open(encoding="utf-8")))
    assert {row["run"] for row in rows} == set(RUNS)
    explained = [row for row in rows if row["reason for the launcher's"]]
    assert len(explained) == len(audit.disagreements())
    assert exit_code_of(audit.main, ["--out", str(tmp_path / "a.md")]) == 0
    page = MarkdownIt("commonmark").enable("table").render((tmp_path / "a.md").read_text(encoding="utf-8"))
    assert page.count("<h2>") == page.count("<table>") == len(RUNS)
    assert page.count("<tr>") == len(rows) + len(RUNS)
    assert exit_code_of(audit.main, ["--out", str(tmp_path / "a.md")]) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["25012399"], "there is no run 25012399; near it"),
        (["--out=/x/y.html"], "ends neither"),
        (["--out=/dev/null/x.md"], "cannot write /dev/null/x.md"),
    ],
)
def test_what_makes_no_sense_is_one_line(words, said, capsys):
    assert exit_code_of(audit.main, words) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
