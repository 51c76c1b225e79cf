"""Sample grids are taken along: of each step the launch's that counts; what is no picture is left."""

from PIL import Image

from extensions.report import grids, records
from tests.helpers.run_folders import HOSTILE, folder_of, grid, lines


def test_the_later_launch_wins_and_files_that_are_no_pictures_do_not(tmp_path):
    first = folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 60))
    second = folder_of(tmp_path, "r", "20260102T000000Z", lines(41, 80))
    for step in (20, 40, 60):
        grid(first, step, "of the first")
    grid(second, 60, HOSTILE)
    (first / "samples" / "step00000010.png").write_bytes(b"no picture")
    (first / "samples" / "step00000011.png").write_bytes((first / "samples" / "step00000020.png").read_bytes()[:60])
    (first / "samples" / "step.png").touch()
    Image.new("RGB", (8, 8)).save(first / "samples" / "step00000012.png", format="GIF")
    (record,) = records.find("r", tmp_path)
    found = {each.step: each for each in grids.copied(record, tmp_path / "out", "run-r")}
    assert {20, 40, 60} <= set(found) <= {11, 20, 40, 60}
    assert found[20].said == "of the first" and found[60].said == HOSTILE and found[60].width == 384
    assert (tmp_path / "out" / found[60].name).read_bytes() == (second / "samples" / "step00000060.png").read_bytes()


def test_a_picture_that_is_there_is_not_copied_again(tmp_path, monkeypatch):
    folder = folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 60))
    grid(folder, 20)
    (record,) = records.find("r", tmp_path)
    grids.copied(record, tmp_path / "out", "a")
    monkeypatch.setattr(grids.shutil, "copy2", None)
    assert len(grids.copied(record, tmp_path / "out", "a")) == 1


def test_a_run_without_samples_has_none(tmp_path):
    folder_of(tmp_path, "r", "20260101T000000Z", lines(1, 60))
    assert grids.copied(records.find("r", tmp_path)[0], tmp_path / "out", "a") == []
