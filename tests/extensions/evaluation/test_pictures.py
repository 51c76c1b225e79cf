"""PNGs carry what A1111 reads back; grids have a cell an image."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from extensions.evaluation import pictures
from extensions.evaluation.prompts import Prompt

# A1111's own pattern for the last line of its parameters (modules/infotext_utils.py, as documented by its users).
PARAMETER = re.compile(r'\s*([\w /-]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
PROMPT = Prompt("a red fox, ein Füchslein, 狐", 832, 1216, "blurry", 20, 6.5, 42)


def read_back(said: str) -> dict[str, str]:
    *_, last = said.split("\n")
    return {name.strip(): value.strip('"') for name, value in PARAMETER.findall(last)}


def test_the_parameters_are_a1111s(tmp_path):
    said = pictures.parameters(PROMPT, "own, model: 3", {"Weights": "ema"})
    assert said.startswith(
        "a red fox, ein Füchslein, 狐\nNegative prompt: blurry\nSteps: 20, Sampler: Euler, CFG scale: 6.5"
    )
    assert read_back(said) == {
        "Steps": "20", "Sampler": "Euler", "CFG scale": "6.5", "Seed": "42", "Size": "832x1216",
        "Model": "own, model: 3", "Weights": "ema",
    }  # fmt: skip
    pixels = np.arange(8 * 8 * 3, dtype=np.uint8).reshape(8, 8, 3)
    for text in (said, said.replace("狐", ""), "plain"):
        pictures.write(tmp_path / "a.png", pixels, text)
        with Image.open(tmp_path / "a.png") as image:
            assert image.info["parameters"] == text and np.array_equal(np.asarray(image), pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@given(value=st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=20))
def test_a_value_stands_alone_on_its_line(value):
    line = f"A: {pictures.quoted(value)}, B: 2"
    assert PARAMETER.findall(line)[-1] == ("B", "2")


def test_a_grid_has_a_cell_an_image(tmp_path):
    for name, size, colour in (("a", (1024, 512), (255, 0, 0)), ("b", (64, 64), (0, 255, 0))):
        Image.new("RGB", size, colour).save(tmp_path / f"{name}.png")
    made = pictures.grid([[tmp_path / "a.png", None], [None, tmp_path / "b.png"]])
    cell = (pictures.CELL + pictures.GAP, 256 + pictures.GAP)
    assert made.size == (2 * cell[0] + pictures.GAP, 2 * cell[1] + pictures.GAP)
    inside = [(x * cell[0] + 20, y * cell[1] + 20) for y in range(2) for x in range(2)]
    red, nothing, none, green = (made.getpixel(place) for place in inside)
    assert red == (255, 0, 0) and green == (0, 255, 0) and nothing == none == pictures.BACKGROUND


@pytest.mark.parametrize("rows", [[[None]], [[None, None], [None, None]]])
def test_a_grid_of_nothing_is_still_a_picture(rows):
    assert min(pictures.grid(rows).size) > 0
