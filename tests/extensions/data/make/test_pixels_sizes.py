"""What is too small, what is cut before it is enlarged, and how much memory that takes."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.data.buckets import SDXL_AREA, cover, historical
from extensions.data.make import pixels
from extensions.data.make.pixels import Reading, Unfit

RULE = historical(SDXL_AREA)


def noise(width, height):
    return np.random.default_rng(width).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("size", "kind"), [((1, 1), "too small"), ((31, 900), "too small"), ((33, 33), "enlarged")])
def test_what_is_too_small(tmp_path, size, kind):
    with pytest.raises(Unfit) as error:
        Reading().require_fit(tmp_path / "a.png", size, RULE)
    assert kind in error.value.kind and f"{size[0]}x{size[1]} px" in str(error.value)
    Reading(min_side=1, max_enlarge=10_000).require_fit(tmp_path / "a.png", size, RULE)


@given(st.integers(64, 20_000), st.integers(64, 20_000))
def test_the_limits_let_pass_what_has_64_pixels(width, height):
    Reading().require_fit(None, (width, height), RULE)


@pytest.mark.parametrize(
    "reading",
    [
        Reading("whit"),
        Reading("#fff0"),
        Reading(""),
        Reading(min_side=0),
        Reading(max_enlarge=0),
        Reading(max_enlarge=float("nan")),
        Reading(max_enlarge=float("inf")),
    ],
)
def test_settings_that_say_nothing(reading):
    with pytest.raises(UserError, match=r"^(BACKGROUND|MIN_SIDE|MAX_ENLARGE)=.*: give "):
        reading.require_sane()
    Reading().require_sane()
    Reading("#123", 1, 0.5).require_sane()


@given(st.integers(1, 60), st.integers(60, 2000), st.booleans())
def test_a_crop_that_is_made_alone_is_the_crop_of_the_whole(narrow, long, upright):
    size = (narrow, long) if upright else (long, narrow)
    image = Image.fromarray(noise(*size))
    resized, box = cover(size, RULE.bucket(size))
    if resized[0] * resized[1] > 1 << 23:
        return
    filters = Image.Resampling.BOX if resized[0] < image.width else Image.Resampling.LANCZOS
    whole = image.resize((resized[0], image.height), filters).resize(resized, filters).crop(box)
    before = pixels.AT_ONCE
    try:
        pixels.AT_ONCE = 0
        found, crop = pixels.fitted(image, RULE)
    finally:
        pixels.AT_ONCE = before
    levels = (found[0].transpose(1, 2, 0) + 1) * 127.5
    assert crop == box and abs(levels - np.asarray(whole, np.float32)).max() <= 2.01


THIN = """
import sys
from pathlib import Path
from PIL import Image
from extensions.data.buckets import SDXL_AREA, historical
from extensions.data.make import pixels
for size in ((1, 16000), (16000, 1), (3, 60000)):
    Image.new("RGB", size, (9, 8, 7)).save(sys.argv[1])
    found, _ = pixels.fitted(pixels.read(Path(sys.argv[1]), "white").image, historical(SDXL_AREA))
    assert found.size == 3 * 256 * 1024, found.shape
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(int(peak.split()[1]) // 1024)
"""


def test_thin_images_take_little_memory(tmp_path):
    command = [sys.executable, "-c", THIN, str(tmp_path / "a.png")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 400, "MB; 4,400 where they are enlarged before they are cut"
