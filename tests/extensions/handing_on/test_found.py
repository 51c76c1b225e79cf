"""A run's last checkpoint is found by number, run folder and folder, with the record of the launch that wrote it."""

import os

import pytest
import torch
from safetensors.torch import save_file

from extensions.base import paths
from extensions.base.errors import UserError
from extensions.handing_on import export, found
from extensions.model import folder as of_folder
from tests.helpers import run_folders
from tests.helpers.averaging import averaged_run, save
from tests.helpers.exporting import wish

RUN = "25022601"


@pytest.fixture
def logs(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "LOGS", tmp_path / "logs")
    monkeypatch.setenv("OUTPUT", str(tmp_path / "output"))
    return tmp_path / "logs"


def leave(folder, name: str, steps: int, started: str, run: str = RUN, **metadata):
    """A checkpoint, as far as it is looked at here."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {of_folder.RUN: run, of_folder.STARTED: started, of_folder.STEPS: str(steps), **metadata}
    save_file({"x": torch.zeros(1)}, folder / f"{name}.safetensors", said)


def launched(logs, number: int, run: str = RUN, **record) -> str:
    """A launch's record; when it began."""
    folder = run_folders.folder_of(logs, run, f"2026030{number}T100000Z", [], **record)
    return found.records.read_launch(folder).record.started


def test_the_last_is_of_the_last_launch_and_step_whatever_the_times_of_files_say(logs, tmp_path):
    output = tmp_path / "output" / f"model_out_{RUN}"
    first, second = launched(logs, 1), launched(logs, 2, flags={"v_parameterization": True})
    leave(output, "at-step00000900", 900, first)  # of a launch that was begun anew
    leave(output, "at-step00000100", 100, second)
    leave(output, "last", 200, second)
    leave(output, "last.ema-0.10", 200, second, **{of_folder.AVERAGE: "0.10"})
    (output / "broken.txt").write_text("x")
    os.utime(output / "at-step00000900.safetensors")
    for run in (RUN, f"model_out_{RUN}", str(logs / RUN), str(output)):
        made = found.find(run, "")
        assert (made.path.name, made.steps, made.run) == ("last.safetensors", 200, RUN), run
        assert made.flags == {"v_parameterization": True} and made.words.startswith("TTE on")


def test_where_the_record_says_it_is(logs, tmp_path):
    """A run whose launcher is gone, or which was started elsewhere on the disk."""
    output = tmp_path / "elsewhere"
    started = launched(logs, 1, run="26010101", flags={"output_dir": str(output)})
    leave(output, "last", 5, started, run="26010101")
    folder = next((logs / "26010101").iterdir())
    for run in ("26010101", str(folder)):
        made = found.find(run, "")
        assert made.path == output / "last.safetensors" and made.words == "" and made.record.started == started


def test_a_file_alone_finds_its_run(logs, tmp_path):
    started = launched(logs, 1)
    launched(logs, 2, flags={})
    leave(tmp_path, "x", 5, started)
    made = found.find("", str(tmp_path / "x.safetensors"))
    assert (made.run, made.record.started) == (RUN, started)
    save_file({"x": torch.zeros(1)}, tmp_path / "bare.safetensors")
    bare = found.find("", str(tmp_path / "bare.safetensors"))
    assert (bare.run, bare.record, bare.steps, bare.words) == ("", None, None, "")


def test_what_metadata_say_is_no_path(logs, tmp_path):
    for run in ("../../etc", "a/b", "..", "a\nb", "x" * 300):
        leave(tmp_path, "x", 5, "", run=run)
        made = found.find("", str(tmp_path / "x.safetensors"))
        assert (made.record, made.words, made.run) == (None, "", "")
        assert export.place_of(wish(tmp_path / "x.safetensors"), made, "").parent == tmp_path / "export"


def test_a_launcher_that_was_never_filled_in_has_no_words(monkeypatch, tmp_path):
    monkeypatch.setattr(found, "LAUNCHERS", tmp_path)
    (tmp_path / "1.sh").write_text(
        "#!/usr/bin/env bash\n# model_out_<run>: <one line for you: what this run tries>\n"
    )
    assert found.words_of("1") == ""


def averaged(of, ema: str, given: bool = False):
    return found.averaged(of, found.average_of(of, ema), given)


def test_averages_of_any_length_are_made_where_they_are_not(logs, tmp_path, capsys):
    output = tmp_path / "output" / f"model_out_{RUN}"
    of = averaged_run(output)
    last = found.find(RUN, "")
    with pytest.raises(UserError, match="EMA=1: no averaged weights 0.10 stand beside .*, there are none"):
        averaged(last, "1")
    made = averaged(last, "0.07")
    assert made.path == output / "last.ema-0.07.safetensors" and made.average == "0.07"
    assert capsys.readouterr().out == f"saved {made.path}\n"
    assert averaged(last, "0.07").path == made.path and capsys.readouterr().out == ""
    assert averaged(last, "1").average == "0.07"  # the only one
    for name in ("0.05", "0.2"):
        averaged(last, name)
    with pytest.raises(UserError, match="there is 0.05, 0.07, 0.20"):
        averaged(last, "1")
    averaged(last, "0.10")
    assert averaged(last, "1").average == "0.10"
    save(of, output / "at-step00000010.safetensors", 10)
    earlier = averaged(found.find("", str(output / "at-step00000010.safetensors")), "0.1", True)
    assert earlier.path.name == "at-step00000010.ema-0.10.safetensors"
