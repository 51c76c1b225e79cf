"""Records of runs as nobody should leave them, and words that make no sense: what is sound of it, or one line."""

import json
import os

import pytest
from huggingface_hub import ModelCard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from extensions.base.manifest import Manifest
from extensions.base.reporting import exit_code_of
from extensions.handing_on import card, verify
from tests.helpers.run_folders import folder_of, grid, lines

TEXTS = st.one_of(st.text(max_size=9), st.sampled_from(["---", "a\n---\nlicense: mit", "| x |", "`", "<b>", "# a"]))
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
NAMES = [name for name in vars(Manifest()) if name != "version"]
READER = MarkdownIt("commonmark").enable("table")
HEADINGS = {
    "In short", "Where it comes from", "How to prompt it", "How it was trained", "Curves", "Validation", "Samples",
    "Flags", "Versions",
}  # fmt: skip


def refused(tmp_path, capsys, *words: str) -> str:
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    assert exit_code_of(card.main, list(words)) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1
    assert [path for path in sorted(tmp_path.rglob("*")) if "kept" not in path.parts] == before
    return said


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=4), number=st.integers(0, 2**60))
def test_a_record_of_any_content_is_a_card_of_the_same_headings(logs, tmp_path, changed, number):
    folder = logs / "odd" / "20260101T000000Z"
    if not folder.is_dir():
        folder_of(logs, "odd", folder.name, lines(1, 3))
    record = json.loads((logs / "sound" / "20260101T000000Z" / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(record | changed))
    out = tmp_path / f"card{number}-{os.urandom(6).hex()}"
    assert exit_code_of(card.main, ["odd", "--out", str(out)]) == 0
    text = (out / "README.md").read_text(encoding="utf-8")
    assert set(ModelCard(text).data.to_dict()) == {"license", "license_name", "pipeline_tag", "tags"}
    tokens = READER.parse(text.split("\n---\n", 1)[1])
    headings = [tokens[at + 1].content for at, token in enumerate(tokens) if token.type == "heading_open"]
    assert headings[0].startswith("Run ") and set(headings[1:]) <= HEADINGS


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changed=st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=4))
def test_a_record_of_any_content_is_held_against_what_is_here(logs, changed):
    folder = logs / "odd" / "20260101T000000Z"
    if not folder.is_dir():
        folder_of(logs, "odd", folder.name, lines(1, 3))
    record = json.loads((logs / "sound" / "20260101T000000Z" / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(record | changed))
    assert exit_code_of(verify.main, ["odd"]) in {1, 2}  # 2: of another kind than a launch writes


def test_files_that_are_folders_loops_and_damaged_pictures(logs, tmp_path):
    folder = folder_of(logs, "odd", "20260101T000000Z", lines(1, 3))
    grid(folder, 1)
    whole = grid(folder, 2).read_bytes()
    (folder / "samples/step00000002.png").write_bytes(whole[: len(whole) - 40])
    (folder / "samples/step00000003.png").write_text("no picture")
    (folder / "samples/step00000004.png").symlink_to(folder / "samples/step00000004.png")
    (folder / "train.log").unlink()
    (folder / "train.log").mkdir()
    assert exit_code_of(card.main, ["odd", "--out", str(tmp_path / "out")]) == 0
    assert [path.name for path in (tmp_path / "out/samples").iterdir()] == ["step00000001.png"]


def test_parents_in_a_circle_and_parents_that_nobody_knows(logs, tmp_path):
    folder_of(logs, "a", "20260101T000000Z", lines(1, 3), parent="b")
    folder_of(logs, "b", "20260101T000000Z", lines(1, 3), parent="a")
    folder_of(logs, "c", "20260101T000000Z", lines(1, 3), parent="../../etc\n# x")
    for name in "abc":
        assert exit_code_of(card.main, [name, "--out", str(tmp_path / name)]) == 0
        assert "\n# x" not in (tmp_path / name / "README.md").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([""], "give RUN="),
        (["nobody"], "there is no record of a run nobody"),
        (["../sound"], "is no run folder"),
        (["sound\nx"], "there is no record"),
        (["sound", "--licence=a\nb"], "LICENCE="),
        (["sound", "--base-model=../x"], "BASE_MODEL="),
        (["sound", "--base-model=a/b/c"], "BASE_MODEL="),
        (["sound", "--prompts=perhaps"], "PROMPTS="),
        (["sound", "--out=/dev/null"], "is there already"),
        (["sound", "--out=/dev/null/x"], "cannot be written"),
        (["sound", "--out=/proc/nowhere/x"], "cannot be written"),
    ],
)
def test_what_makes_no_sense_is_one_line_and_writes_nothing(logs, tmp_path, capsys, words, said):
    assert said in refused(tmp_path, capsys, *words)
