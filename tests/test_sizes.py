"""No function is longer than 50 lines, no file than 250."""

import ast

from extensions.base.paths import ROOT
from extensions.upstream import git

FUNCTION, FILE = 50, 250


def sources() -> dict[str, str]:
    """{path: text} of the project's own Python files; upstream's are not listed, being a submodule."""
    names = git.output(ROOT, "ls-files", "*.py").splitlines()
    return {name: (ROOT / name).read_text(encoding="utf-8") for name in names}


def test_files_are_short():
    assert {name for name, text in sources().items() if text.count("\n") > FILE} == set()


def test_functions_are_short():
    long = set()
    for name, text in sources().items():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > FUNCTION:
                    long.add(f"{name}: {node.name} has {lines} lines")
    assert long == set()
