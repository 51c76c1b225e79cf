"""Each image's errors are kept, read up to a step, and survive what a kill leaves."""

import pytest

from extensions.base.errors import UserError
from extensions.evaluation import record
from extensions.evaluation.record import Evaluation

ONE, TWO, OTHER = Evaluation(0, "a", [1.0, 2.0]), Evaluation(100, "a", [0.5, 0.25]), Evaluation(50, "b", [9.0])


def test_what_was_written_is_read_up_to_the_step(tmp_path):
    assert record.read(tmp_path, "a", 10**9) == []
    for each in (ONE, OTHER, TWO):
        record.append(tmp_path, each)
    assert record.read(tmp_path, "a", 100) == [ONE, TWO]
    assert record.read(tmp_path, "a", 99) == [ONE] and record.read(tmp_path, "b", 99) == [OTHER]
    record.forget(tmp_path, "a", 99)
    assert record.read(tmp_path, "a", 100) == [ONE]
    assert record.read(tmp_path, "b", 99) == [OTHER], "another set of questions keeps its figures"


def test_the_later_line_of_a_step_counts_and_half_a_line_does_not(tmp_path):
    record.append(tmp_path, ONE)
    record.append(tmp_path, Evaluation(0, "a", [3.0, 4.0]))
    with open(tmp_path / record.FILE, "a") as file:
        file.write('{"optimizer_step": 7, "asked": "a", "errors": [1.0, Na')
    assert record.read(tmp_path, "a", 100) == [Evaluation(0, "a", [3.0, 4.0])]


OTHERS = (
    "[]", "null", '{"optimizer_step": 1}', '{"optimizer_step": "x", "asked": "a", "errors": []}',
    '{"optimizer_step": 1, "asked": "a", "errors": ["x"]}', '{"optimizer_step": 1, "asked": "a", "errors": [NaN]}',
)  # fmt: skip


@pytest.mark.parametrize("line", OTHERS)
def test_lines_of_another_kind_are_none(tmp_path, line):
    (tmp_path / record.FILE).write_text(line + "\n")
    assert record.read(tmp_path, "a", 100) == []


def test_a_file_that_is_none_is_one_line(tmp_path):
    (tmp_path / record.FILE).mkdir()
    with pytest.raises(UserError, match="cannot be read"):
        record.read(tmp_path, "a", 0)
    with pytest.raises(UserError, match="cannot be written .*make room"):
        record.append(tmp_path, ONE)
