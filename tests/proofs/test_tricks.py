"""The table of tricks: every proof exists, results are read off pytest's own report, a failure fails the command."""

import ast
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.launch.stages import REFERENCE, SD_SCRIPTS
from extensions.logbook import registry
from tests.proofs import tricks
from tests.proofs.trick_table import TRICKS, Proof, Trick

PROOFS = sorted({proof.test for trick in TRICKS for proof in trick.proofs})
SAMPLE = """
import pytest
@pytest.mark.parametrize("trainer", ["sd-scripts", "reference"])
def test_each(trainer):
    assert trainer == "reference"
def test_shared():
    pass
def test_left_out():
    pytest.skip("no card")
@pytest.mark.parametrize("trainer", [
    pytest.param("sd-scripts", marks=pytest.mark.skip(reason="sd-scripts/ is empty")), "reference"])
@pytest.mark.parametrize("way", ["sdpa", pytest.param("xformers", marks=pytest.mark.skip(reason="no card"))])
def test_some(trainer, way):
    pass
"""
NOWHERE = {SD_SCRIPTS: "sd-scripts/ is empty"}


@pytest.mark.parametrize("proof", PROOFS)
def test_every_proof_is_there(proof):
    path, _, function = proof.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    function = function.partition("[")[0]
    assert any(name.startswith("test_") for name in names) and (not function or function in names)


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    """Of a real run of pytest."""
    folder = tmp_path_factory.mktemp("sample")
    (folder / "test_sample.py").write_text(SAMPLE, encoding="utf-8")
    words = ["-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", "--junitxml=report.xml", "test_sample.py"]
    subprocess.run([sys.executable, "-m", "pytest", *words], cwd=folder, check=False, capture_output=True)
    return [tricks.case_of(element) for element in xml.parse(folder / "report.xml").iter("testcase")]


def trick(*proofs: Proof) -> Trick:
    return Trick("sample", lambda run: run.gpus == 1, "itself", proofs)


def proof(name: str, *trainers: str) -> Proof:
    return Proof(f"test_sample.py::{name}", trainers)


def cells(cases, *proofs: Proof, cannot=()) -> list[tuple[str, bool]]:
    """(text, whether it holds) of shared, sd-scripts, reference."""
    found = [tricks.outcome(trick(*proofs), name, cases, dict(cannot)) for name in (tricks.SHARED, *tricks.TRAINERS)]
    return [(cell.text, cell.holds) for cell in found]


def test_a_trainer_is_credited_with_what_it_ran(cases):
    failed, one = ("FAILED: test_each[sd-scripts]", False), ("passed (1 tests)", True)
    assert cells(cases, proof("test_each")) == [("-", True), failed, one]
    assert cells(cases, proof("test_shared")) == [one, ("-", False), ("-", False)]
    assert cells(cases, proof("test_shared", REFERENCE)) == [("-", True), ("-", False), one]
    assert cells(cases, proof("test_shared", *tricks.TRAINERS)) == [("-", True), one, one]
    assert cells(cases, proof("test_each"), proof("test_shared")) == [one, failed, one]
    assert cells(cases, Proof("test_sample.py"))[1] == failed


def test_skips_are_shown_by_number_and_reason_whatever_passed(cases):
    _, theirs, ours = cells(cases, proof("test_some"))
    assert theirs == ("not run; 1 skipped: sd-scripts/ is empty; 1 skipped: no card", False)
    assert ours == ("passed (1 tests); 1 skipped: no card", True)
    assert cells(cases, proof("test_some"), cannot=NOWHERE)[1] == (theirs[0], True)
    assert cells(cases, proof("test_left_out"))[0] == ("not run; 1 skipped: no card", False)


def test_a_test_of_two_proofs_counts_once(cases):
    twice = cells(cases, proof("test_each"), proof("test_each[reference]"), Proof("test_sample.py"))
    assert twice[2] == ("passed (2 tests); 1 skipped: no card", True)
    words = ["a.py", "a.py::test_b", "a.py::test_b[1]", "b.py::test_c[1]"]
    assert tricks.needed(words) == ["a.py", "b.py::test_c[1]"]


@pytest.mark.parametrize(
    ("proofs", "cannot", "whole"),
    [
        ([proof("test_each")], {}, False),
        ([proof("test_shared")], {}, False),
        ([proof("test_shared", REFERENCE)], {}, False),
        ([proof("test_shared", REFERENCE)], NOWHERE, True),
        ([proof("test_some")], {}, False),
        ([proof("test_some")], NOWHERE, True),
        ([proof("test_shared", *tricks.TRAINERS)], {}, True),
        ([proof("test_shared", *tricks.TRAINERS), proof("test_left_out")], {}, False),
    ],
)
def test_the_command_fails_where_something_is_not_proven(cases, proofs, cannot, whole):
    assert tricks.table([trick(*proofs)], cases, {}, cannot)[1] is whole


def test_a_trick_of_no_trainer_is_proven_without_one(cases):
    alone = Trick("sample", lambda run: True, "itself", (proof("test_shared"),), ())
    assert tricks.table([alone], cases, {}, {})[1]


@pytest.mark.parametrize("each", TRICKS, ids=lambda trick: trick.name)
def test_every_trick_has_a_proof_for_each_trainer(each, collected):
    """By the ids of the tests as pytest has them; a shared test, or the other trainer's, is none."""
    cases = [tricks.Case(test, "passed") for test in collected]
    for trainer in each.trainers:
        assert tricks.outcome(each, trainer, cases, {}).text.startswith("passed"), trainer


@pytest.fixture(scope="module")
def collected() -> list[str]:
    """The ids of all tests that prove a trick."""
    words = ["--collect-only", "-o", "addopts=-q -p no:cacheprovider", *tricks.needed(PROOFS)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *words], cwd=ROOT, check=True, capture_output=True, text=True
    )
    return [line for line in done.stdout.splitlines() if "::" in line]


def test_runs_are_those_whose_launchers_say_so():
    runs = registry.read_all()
    by_name = {each.name: tricks.users(each.uses, runs) for each in TRICKS}
    assert by_name["ZeRO-2 with accumulation"] == by_name["Dynamo"] == "25022301"
    assert by_name["NUMA process 0 / 1"].startswith("25030401, 25030402")
    assert by_name["rectified flow, logit-normal timesteps, shift"] == "26020101, 26020102, 26022301"


def test_unknown_tricks_and_gone_proofs_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no trick is named nothing; there are: dual tags"):
        tricks.chosen(["nothing"])
    assert [each.name for each in tricks.chosen(["dynamo"])] == ["Dynamo"]
    with pytest.raises(UserError, match="may be gone"):
        tricks.run(["tests/no_such_file.py"], tmp_path)
