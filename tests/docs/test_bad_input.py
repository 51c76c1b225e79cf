"""The tables of what is said of bad input: each line that a page quotes is one that the program can say."""

import ast
import re

import pytest

from extensions.base.paths import ROOT

HEAD = "| input | exit code | line (its beginning) |"
CODES = {"0", "2", "75", "76"}
PLACEHOLDER = "\0"
ENOUGH, LEAST = 10, 8  # letters: what is shorter stands in half of all lines
VALUE = 2  # words of a value that a row shows
SHELL = re.compile(r"%[sq]|\$+\{[^}]*\}|\$+\w+")


def rows() -> list[tuple[str, str, str]]:
    """(page: input, exit code, what is said) of every row of every such table."""
    found = []
    for page in sorted((ROOT / "docs").rglob("*.md")):
        for table in page.read_text(encoding="utf-8").split(HEAD)[1:]:
            lines = table.split("\n\n")[0].strip().splitlines()[1:]
            cells = [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines]
            found += [(f"{page.name}: {row[0].strip()}", row[1].strip(), row[2].strip()) for row in cells]
    return found


def quoted() -> list[tuple[str, str]]:
    """(row, line) of every line in backticks."""
    return [(row, line) for row, _, said in rows() for line in re.findall(r"`([^`]+)`", said.replace("\\|", "|"))]


def template(node: ast.expr) -> str:
    """The text of a string, what is put into it as PLACEHOLDER."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    assert isinstance(node, ast.JoinedStr)
    return "".join(template(part) if isinstance(part, ast.Constant) else PLACEHOLDER for part in node.values)


def said_by_python(text: str) -> set[str]:
    """Every string of a module but its docstrings."""
    tree = ast.parse(text)
    alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Constant))
    return {
        template(node)
        for node in texts
        if id(node) not in alone | inner and (isinstance(node, ast.JoinedStr) or isinstance(node.value, str))
    }


@pytest.fixture(scope="module")
def templates() -> list[list[str]]:
    """What the program says, each cut at its placeholders."""
    found = set()
    for path in (ROOT / "extensions").rglob("*.py"):
        found |= said_by_python(path.read_text(encoding="utf-8"))
    for path in [ROOT / "Makefile", *(ROOT / "train" / "lib").glob("*.sh")]:
        found |= {SHELL.sub(PLACEHOLDER, line) for line in path.read_text(encoding="utf-8").splitlines()}
    cut = ([part for part in each.split(PLACEHOLDER) if part] for each in found)
    return [parts for parts in cut if any(len(part) >= LEAST for part in parts)]


def says(parts: list[str], piece: str) -> bool:
    """Whether a template says a piece of a line: its parts stand in it in order; the piece may be cut in one."""
    for first in range(len(parts)):
        at = matched = 0
        for part in parts[first:]:
            place = piece.find(part, at)
            if place < 0:
                end = _cut(part, piece[at:])
                at, matched = at if not end else len(piece), matched + end
                break
            at, matched = place + len(part), matched + len(part)
        # What is left over is a value, at most.
        if matched >= min(max(ENOUGH, len(piece) // 2), len(piece)) and len(piece[at:].split()) <= VALUE:
            return True
    return any(piece in part for part in parts)


def _cut(part: str, rest: str) -> int:
    """How many letters of a part the rest of a piece ends with."""
    return next((size for size in range(min(len(part), len(rest)), 0, -1) if rest.endswith(part[:size])), 0)


def pieces(line: str) -> list[str]:
    """What stands between the placeholders of a line, without bits that would stand anywhere."""
    found = [piece.strip() for piece in line.split("…")]
    return [piece for piece in found if len(piece) >= LEAST] or found


def test_there_are_tables():
    assert {row.partition(":")[0] for row, _, _ in rows()} >= {"bad-input.md", "checkpoints.md", "launch.md"}
    assert len(rows()) >= 90


@pytest.mark.parametrize(("row", "code", "said"), rows(), ids=[row for row, _, _ in rows()])
def test_a_row_has_its_exit_code_and_its_line(row, code, said):
    assert code in CODES and said
    assert code == "0" or "`" in said or "one line of the parser" in said


@pytest.mark.parametrize(("row", "line"), quoted(), ids=[f"{row} {line}" for row, line in quoted()])
def test_a_line_is_one_that_the_program_says(row, line, templates):
    for piece in pieces(line):
        assert any(says(parts, piece) for parts in templates), piece


@pytest.mark.parametrize(
    ("piece", "can"),
    [
        ("no such folder: /x; give another one", True),
        ("no such folder: /x; gi", True),
        ("no such folders", False),
        ("no such folder: /x; take another one", False),
        ("rows of x are damaged; make", True),
        ("rows of x are whole; make", False),
        ("are damaged; make it", True),
        ("are damaged; mend it", False),
    ],
)
def test_what_is_compared(piece, can):
    templates = [["no such folder: ", "; give another one"], [" rows of ", " are damaged; make it again"]]
    assert any(says(parts, piece) for parts in templates) == can


def test_a_message_that_changes_is_found(templates):
    """Every piece of more than two words, in the other order, stands nowhere."""
    turned = [" ".join(reversed(piece.split())) for _, line in quoted() for piece in pieces(line)]
    still = [each for each in turned if each.count(" ") > 2 and any(says(parts, each) for parts in templates)]
    assert not still, "\n".join(still)
