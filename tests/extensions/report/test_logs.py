"""train.log: the step of a corrupt sample, in bars that redraw themselves and logs without end."""

from extensions.report import logs


def test_the_step_that_the_bar_showed_last(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(
        "steps:   0%|  | 0/400 [00:00<?, ?it/s]\rsteps:  10%|█| 40/400 [00:10<01:30, avr_loss=0.1]\n"
        "bad_sample: skipped 'a' (process 0): truncated\rsteps: 41/400 [00:11]bad_sample: skipped 'b': bad\n",
        encoding="utf-8",
    )
    found = logs.read(path)
    assert [step for step, _ in found.corrupt] == [40, 41] and found.corrupt[0][1].startswith("'a'")


def test_a_line_without_end_is_not_gathered(tmp_path):
    path = tmp_path / "train.log"
    path.write_bytes(b"steps: 7/9 [0]\n" + b"x" * (3 << 20) + b" steps: 8/9 [0]\nsteps: 9/9 [0]")
    with open(path, "rb") as file:
        found = list(logs.pieces(file))
    assert [len(piece) for piece in found] == [14, logs.LINE, 14] and logs.read(path).step == 9


def test_more_events_than_are_kept_are_counted(tmp_path):
    path = tmp_path / "train.log"
    path.write_text("bad_sample: skipped 'a' (process 0): x\n" * 500)
    found = logs.read(path)
    assert (len(found.corrupt), found.corrupt_count) == (logs.KEPT, 500)
    assert logs.read(tmp_path / "none").step == 0
