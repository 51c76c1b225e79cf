"""The table of tricks: every proof exists, results are read off pytest's own report, a failure fails the command."""

import ast
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

from extensions.errors import UserError
from extensions.logbook import registry, tricks
from extensions.logbook.trick_table import TRICKS, Proof, Trick
from extensions.paths import ROOT

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
"""


@pytest.mark.parametrize("proof", PROOFS)
def test_every_proof_is_there(proof):
    path, _, function = proof.partition("::")
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
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


def outcomes(cases, *proofs: Proof) -> list[str]:
    return [tricks.outcome(trick(*proofs), trainer, cases) for trainer in tricks.TRAINERS]


def test_results_by_trainer(cases):
    each, shared, out = (Proof(f"test_sample.py::{name}") for name in ("test_each", "test_shared", "test_left_out"))
    assert outcomes(cases, each) == ["FAILED: test_each[sd-scripts]", "passed (1 tests)"]
    assert outcomes(cases, shared) == ["passed (1 tests)"] * 2
    assert outcomes(cases, out)[0].startswith("not run: ") and "no card" in outcomes(cases, out)[0]
    assert outcomes(cases, each, shared)[1] == "passed (2 tests)"
    assert outcomes(cases, Proof("test_sample.py"))[0].startswith("FAILED")
    assert outcomes(cases, Proof("test_sample.py::test_shared", trainer="reference")) == ["-", "passed (1 tests)"]


def test_a_failure_fails_the_command(cases):
    runs = registry.read_all()
    assert not tricks.table([trick(Proof("test_sample.py::test_each"))], cases, runs)[1]
    assert tricks.table([trick(Proof("test_sample.py::test_shared"))], cases, runs)[1]


def test_runs_are_those_whose_launchers_say_so():
    runs = registry.read_all()
    by_name = {each.name: tricks.users(each.uses, runs) for each in TRICKS}
    assert by_name["ZeRO-2 with accumulation"] == by_name["Dynamo"] == "25022301"
    assert by_name["NUMA process 0 / 1"].startswith("25030401, 25030402")
    assert by_name["SD2: v-prediction, zero terminal SNR, min-SNR, full bf16"] == "24122001, 24122101"


def test_unknown_tricks_and_gone_proofs_are_one_line(tmp_path):
    with pytest.raises(UserError, match="no trick is named nothing; there are: dual tags"):
        tricks.chosen(["nothing"])
    assert [each.name for each in tricks.chosen(["dynamo"])] == ["Dynamo"]
    with pytest.raises(UserError, match="may be gone"):
        tricks.run(["tests/no_such_file.py"], tmp_path)
