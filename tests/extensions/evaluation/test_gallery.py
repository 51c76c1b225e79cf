"""Images have a folder an optimizer step; the grid shows those of the first step beside them."""

import numpy as np
from PIL import Image

from extensions.evaluation import gallery
from extensions.evaluation.gallery import RAW, Gallery
from extensions.evaluation.prompts import Prompt

PROMPTS = [Prompt("one", 64, 64), Prompt("two", 64, 64)]


def filled(colour: int) -> np.ndarray:
    return np.full((64, 64, 3), colour, np.uint8)


def test_the_first_images_stand_before_the_present_ones(tmp_path):
    made = Gallery(tmp_path / "out", tmp_path / "run", "own", PROMPTS)
    assert made.first() is None
    for step, colour in ((0, 10), (500, 90)):
        for number in range(2):
            made.write(step, number, RAW, filled(colour + number))
            made.write(step, number, "raw-zero", filled(colour + 50))
    assert made.first() == 0
    with Image.open(made.grid(0, [RAW])) as grid:
        assert grid.width < 2 * 64
    path = made.grid(500, [RAW, "raw-zero"])
    assert path == tmp_path / "run" / "samples" / "step00000500.png"
    with Image.open(path) as grid:
        assert [grid.getpixel((30 + 68 * x, 30))[0] for x in range(3)] == [10, 90, 140]
        assert grid.getpixel((30, 98))[0] == 11
    with Image.open(made.path(500, 1, "raw-zero")) as image:
        assert image.info["parameters"].startswith("two\nSteps: ") and "Model: own at 500" in image.info["parameters"]
        assert image.info["parameters"].endswith("Weights: raw-zero")


def test_a_missing_image_leaves_its_cell_and_without_a_run_folder_the_grid_is_beside_them(tmp_path):
    made = Gallery(tmp_path, None, "own", PROMPTS)
    made.write(3, 0, RAW, filled(70))
    path = made.grid(3, [RAW])
    assert path == tmp_path / "samples" / "step00000003.png"
    with Image.open(path) as grid:
        assert grid.getpixel((30, 30))[0] == 70 and grid.getpixel((30, 98)) == (128, 128, 128)
    assert gallery.step_name(3) == "step00000003"
