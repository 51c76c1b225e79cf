"""What is read off a training process, computed by hand."""

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.gpu import readings


def probe(seconds: list[float]) -> dict:
    """Micro-steps of one image, so many seconds apart."""
    at, steps = 10.0, []
    for number, each in enumerate(seconds):
        at += each
        steps.append({"at": at, "loss": number / 10, "latents": [1, 4, 128, 128]})
    return {"imported": 105.0, "began": 10.0, "micro_steps": steps}


def test_speed_is_of_whole_optimizer_steps_after_the_first():
    # Four slow ones, two optimizer steps of 3 x 1 s and 3 s with the update, then one in which waits are counted.
    seconds = [5.0, *[9.0] * 4, *[1.0, 1.0, 1.0, 3.0] * 2, *[20.0] * 4]
    found = readings.figures(probe(seconds), 100.0, 4, 12)
    assert found["images_per_second"] == pytest.approx(8 / 12)
    assert found["first_micro_step_seconds"] == pytest.approx(5.0) and found["imports_seconds"] == 5.0
    assert found["micro_steps"] == len(found["losses"]) == 17 and "allocated_bytes" not in found


@pytest.mark.parametrize("count", range(5))
def test_a_run_that_ended_early_has_no_speed(count):
    assert "images_per_second" not in readings.figures(probe([1.0] * count), 100.0, 4, 12)


def test_files_are_held_against_each_other_element_by_element(tmp_path):
    one = {"a": torch.zeros(4, dtype=torch.bfloat16), "b": torch.ones(3)}
    other = {"a": torch.tensor([0, 0.5, 0, -0.25], dtype=torch.bfloat16), "b": torch.ones(3)}
    for name, tensors in (("one", one), ("other", other)):
        save_file(tensors, tmp_path / name)
    found = readings.difference(tmp_path / "one", tmp_path / "other")
    assert found == {"tensors": 1, "elements": 2, "of": 7, "largest": 0.5}
    assert readings.difference(tmp_path / "one", tmp_path / "one")["tensors"] == 0


def test_what_nvidia_smi_shows_at_most(tmp_path):
    path = tmp_path / "smi.txt"
    watched = readings.Watched(path)
    path.write_text("100, 5, 30.5, 1200\n300, [N/A], 20, 1300\ncut off, 1\n")
    assert watched.peaks() == {"memory.used": 300, "utilization.gpu": 5, "power.draw": 30.5, "clocks.sm": 1300}
