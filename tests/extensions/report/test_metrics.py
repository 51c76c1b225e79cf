"""metrics.jsonl as a run leaves it, and as nobody should: what is read, in what blocks."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.report import metrics
from extensions.report.metrics import Metrics, first_steps
from tests.helpers.run_folders import STRATA, training_line, validation_line


def written(folder, *found, end="\n"):
    path = folder / "metrics.jsonl"
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in found) + end)
    return path


def read(path, **known) -> Metrics:
    made = Metrics(**known)
    made.read_on(path)
    return made


def values(made: Metrics, name: str) -> dict[int, float]:
    curve = made.curves[name]
    assert curve.width == 1
    return dict(zip(curve.bins.tolist(), curve.means().tolist(), strict=True))


def test_every_number_of_both_kinds_of_lines(tmp_path):
    made = read(written(tmp_path, validation_line(0, 0.3, 0.3), training_line(1, 0.5, grad_norm=2)))
    assert values(made, "loss") == {1: 0.5} and values(made, "grad_norm") == {1: 2.0}
    assert values(made, "lr/text encoder 2") == {1: 1.2e-05}
    assert values(made, "validation/held_out/x0") == {0: 0.3}
    assert values(made, "validation/held_out/x0_by_stratum/1") == {0: 0.3}
    assert [made.labels[f"validation/held_out/x0_by_stratum/{i}"] for i in range(3)] == STRATA
    assert (made.lines, made.unread) == (2, 0) and "optimizer_step" not in made.curves


def test_a_half_written_last_line_is_left_until_it_is_whole(tmp_path):
    path = written(tmp_path, training_line(1, 0.5), json.dumps(training_line(2, 0.4))[:30], end="")
    made = read(path)
    assert values(made, "loss") == {1: 0.5} and made.unread == 0
    with open(path, "a") as file:
        file.write(json.dumps(training_line(2, 0.4))[30:] + "\n")
    before = made.offset
    made.read_on(path)
    assert values(made, "loss") == {1: 0.5, 2: 0.4} and made.offset == path.stat().st_size > before


@pytest.mark.parametrize(
    "bad",
    [
        "{", "[]", "7", '"x"', "null", "\0\0\0", '{"optimizer_step": -1}', '{"optimizer_step": true}', '{"loss": 1}',
        '{"optimizer_step": "1", "loss": 1}', '{"optimizer_step": 1e99, "loss": 1}', "[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_line_is_counted(tmp_path, bad):
    made = read(written(tmp_path, training_line(1, 0.5), bad, training_line(2, 0.4)))
    assert values(made, "loss") == {1: 0.5, 2: 0.4} and (made.lines, made.unread) == (2, 1)


def test_not_a_number_is_a_value_that_is_missing(tmp_path):
    made = read(written(tmp_path, training_line(1, 0.5), training_line(2, float("nan")), training_line(3, 10**400)))
    assert values(made, "loss") == {1: 0.5}
    assert (made.curves["loss"].missing, made.curves["loss"].missing_at) == (2, 2)


def test_texts_and_switches_are_no_curves(tmp_path):
    made = read(written(tmp_path, training_line(1, 0.5, note="a", flag=True, nothing=None, mixed=[1, "a"])))
    assert not {"note", "flag", "nothing", "mixed/0"} & made.curves.keys()


def test_names_without_end_are_cut_off(tmp_path):
    made = read(written(tmp_path, {"optimizer_step": 1, "loss": 1} | {f"x{i}": i for i in range(5000)}))
    assert len(made.curves) == metrics.LEAVES and "loss" in made.curves


def test_a_line_without_end_is_not_gathered(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "LONGEST", 1000)
    monkeypatch.setattr(metrics, "BLOCK", 100)
    made = read(written(tmp_path, training_line(1, 0.5), "x" * 5000, training_line(2, 0.5)))
    assert made.lines == 1 and "longer than" in made.failed


def test_a_later_launch_wins_from_its_first_step(tmp_path):
    path = written(tmp_path, *(training_line(step, step) for step in range(1, 9)), validation_line(8, 0.2, 0.3))
    made = read(path, cuts={"": 5})
    assert set(values(made, "loss")) == {1, 2, 3, 4} and "validation/held_out/x0" not in made.curves
    assert read(path, cuts={"": 9, "validation": 8}).curves["loss"].last == (8, 8.0)


def test_first_steps_of_each_kind(tmp_path):
    path = written(tmp_path, validation_line(10, 0.2, 0.3), training_line(11, 1), training_line(12, 1))
    assert first_steps(path) == {"validation": 10, "": 11}
    assert first_steps(tmp_path / "none") == {}


@given(cuts=st.lists(st.integers(0, 4000), max_size=6), block=st.integers(1, 300))
def test_nothing_depends_on_where_a_reading_ends(tmp_path_factory, cuts, block):
    folder = tmp_path_factory.mktemp("cut")
    path = written(folder, *(training_line(s, s / 7) for s in range(1, 12)), validation_line(11, 0.2, 0.3))
    whole, text = read(path), path.read_bytes()
    made, before = Metrics(), metrics.BLOCK
    metrics.BLOCK = block
    try:
        for cut in [*sorted(cuts), len(text)]:
            path.write_bytes(text[:cut])
            made.read_on(path)
    finally:
        metrics.BLOCK = before
    assert made.lines == whole.lines and made.curves.keys() == whole.curves.keys()
    assert values(made, "loss") == values(whole, "loss")
