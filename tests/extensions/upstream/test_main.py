"""The start of sd-scripts' trainers: what is refused before its library is imported, and whose fault an error is."""

import sys
from types import SimpleNamespace

import pytest

from extensions import loop, manager
from extensions.base.errors import UserError
from extensions.upstream import __main__ as upstream


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    """A start sets sys.argv and sys.path."""
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A tree with one file, whose functions raise what they are told; no training has begun."""
    monkeypatch.setattr(loop, "_run", None)
    (tmp_path / "library").mkdir()
    path = tmp_path / "library" / "util.py"
    path.write_text("def check(error):\n    raise error\n")
    made = {}
    exec(compile(path.read_text(), str(path), "exec"), made)
    return SimpleNamespace(folder=str(tmp_path), check=made["check"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["no_train.py"], "sd-scripts has no trainer no_train.py; a launcher calls sdxl_train.py or fine_tune.py"),
        (["no_train.py", "--extensions=dual_tags"], "did you mean dual_tag"),
        (["no_train.py", "--extensions=save_states"], "save_states needs resume_at_step"),
    ],
)
def test_what_is_refused_before_anything_of_sd_scripts_is_touched(words, says, tmp_path):
    before = list(sys.path)
    with pytest.raises(UserError, match=says) as caught:
        upstream.main([str(tmp_path), *words])
    assert "\n" not in str(caught.value) and sys.path == before


@pytest.mark.parametrize(
    ("words", "missing"),
    [([], "TREE"), (["--only-check"], "TREE"), (["tree"], "SCRIPT"), (["--only-check", "t"], "SCRIPT")],
)
def test_a_word_that_is_missing(words, missing, capsys):
    assert upstream.run(words) == UserError.code
    said = capsys.readouterr().err
    assert said.startswith(f"error: python -m extensions.upstream was given no {missing}; it is called as")
    assert said.count("\n") == 1


def raised(tree, error):
    """What sd-scripts raises, as it is caught."""
    with pytest.raises(type(error)) as caught:
        tree.check(error)
    return caught.value


def test_its_own_refusal_is_one_line_with_its_place(tree):
    error = raised(tree, AssertionError("v_parameterization needs v2\n / v_parameterization\u306f"))
    assert upstream.refused(error, tree.folder) == "v_parameterization needs v2 (sd-scripts, util.py line 2)"


@pytest.mark.parametrize("error", [AssertionError(), ValueError("")])
def test_a_refusal_without_words_is_a_fault(tree, error):
    assert upstream.refused(raised(tree, error), tree.folder) == ""


def test_a_fault_elsewhere_is_ours(tree, tmp_path):
    assert upstream.refused(raised(tree, ValueError("x")), str(tmp_path / "another tree")) == ""


def test_once_it_trains_a_fault_is_its_own(tree, monkeypatch):
    monkeypatch.setattr(loop, "current", object)
    assert upstream.refused(raised(tree, ValueError("x")), tree.folder) == ""


@pytest.mark.parametrize(
    ("error", "seen"),
    [(AssertionError("no such file"), UserError), (ValueError("bad"), UserError), (KeyError("x"), KeyError)],
)
def test_training_passes_on_what_is_no_refusal(tree, error, seen):
    manager.install([])
    trainer = upstream.Upstream(tree.folder)
    trainer.trainer = SimpleNamespace(train=lambda args: tree.check(error))
    with pytest.raises(seen):
        trainer.train(None)
    assert (
        list(manager.current().plugins) == ["(seams)", "(states of all processes)"] and manager.current().names == []
    )
