"""Weights by id: what the file says, 1 for the others; a wrong line is named."""

import pytest

from extensions.base.errors import UserError
from extensions.objectives.sample_weights import SampleWeights


def written(tmp_path, text: str):
    path = tmp_path / "weights.tsv"
    path.write_text(text, encoding="utf-8")
    return path


def test_each_id_has_the_weight_of_its_line_and_others_1(tmp_path):
    lines = {f"image {number}": number / 4 for number in range(200)} | {"a\tb": 9.0, "": 0}
    del lines[""]
    made = SampleWeights(written(tmp_path, "".join(f"{key}\t{weight}\n" for key, weight in lines.items())))
    assert made.of(lines) == pytest.approx(list(lines.values()))
    assert made.of(["another", "image 7", "image"]) == [1, 1.75, 1] and made.of([]) == []
    assert made.some == list(lines)


def test_the_order_of_lines_and_their_ends_are_no_matter(tmp_path):
    one = SampleWeights(written(tmp_path, "a\t1\nb\t2\n"))
    other = SampleWeights(written(tmp_path, "b\t2.0\r\na\t1e0"))
    third = SampleWeights(written(tmp_path, "b\t2.5\na\t1"))
    assert one.digest() == other.digest() != third.digest()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a\t1\nb 2\n", "line 2 is 'b 2'"),
        ("a\t-1\n", "line 1"),
        ("a\tnan\n", "line 1"),
        ("\t1\n", "line 1"),
        ("a\t1\n\n", "line 2 is ''"),
        ("a\t1\nb\t1\na\t2\n", "line 3 names an id a second time"),
        ("", "is empty"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, says):
    with pytest.raises(UserError) as error:
        SampleWeights(written(tmp_path, text))
    assert says in str(error.value) and str(error.value).isprintable()


def test_a_file_that_is_not_there_is_one_line(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        SampleWeights(tmp_path / "none.tsv")
