"""From a file to pixels: upright, eight bits, on a background; what is refused."""

import errno
import os
import re
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, PngImagePlugin

from extensions.base.errors import UserError
from extensions.data.make import pixels
from extensions.data.make.pixels import BadImage


def noise(width, height, channels=3):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(width).integers(0, 256, shape, np.uint8)


def read(path, background="white"):
    found = pixels.read(path, background)
    return np.asarray(found.image), found


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff", "avif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_upright(tmp_path, suffix, orientation):
    """Pillow's own rule is the oracle, on the same bytes."""
    exif = Image.Exif()
    exif[pixels.ORIENTATION] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(noise(90, 60)).save(path, exif=exif)
    with Image.open(path) as opened:
        opened.load()
        wanted = ImageOps.exif_transpose(opened).convert("RGB")
    found, picture = read(path)
    assert found.shape == ((90, 60, 3) if orientation > 4 else (60, 90, 3))
    assert np.array_equal(found, np.asarray(wanted))
    assert picture.plain == (orientation == 1 or suffix == "tiff")  # Pillow itself turns a TIFF


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0II*\0\xff\xff\xff\xff", b"x"]
)
def test_damaged_exif_data_cost_no_picture(tmp_path, exif, capfd):
    Image.fromarray(noise(90, 60)).save(tmp_path / "a.jpg", exif=exif)
    found, picture = read(tmp_path / "a.jpg")
    assert found.shape == (60, 90, 3) and picture.plain and capfd.readouterr().err == ""


@given(st.integers() | st.text() | st.floats() | st.none())
def test_an_orientation_that_is_none_turns_nothing(value):
    image = Image.new("RGB", (2, 3))
    image.getexif = lambda: {pixels.ORIENTATION: value}
    assert (pixels.turned(image) is None) == (value not in range(2, 9))


@pytest.mark.parametrize("scale", [256, 257])
@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm", "jp2"])
def test_sixteen_bits_of_grey(tmp_path, suffix, scale):
    grey = np.arange(256, dtype=np.uint8).repeat(40).reshape(80, 128)
    options = {"irreversible": False} if suffix == "jp2" else {}
    Image.fromarray(grey.astype(np.uint16) * scale).save(tmp_path / f"a.{suffix}", **options)
    found, picture = read(tmp_path / f"a.{suffix}")
    assert np.array_equal(found, np.repeat(grey[..., None], 3, 2)) and not picture.plain


def test_thirty_two_bits_are_refused_and_not_guessed(tmp_path):
    for mode, kind in (("F", np.float32), ("I", np.int32)):
        Image.fromarray(np.ones((40, 40), kind)).save(tmp_path / f"{mode}.tiff")
        with pytest.raises(BadImage, match=rf"{mode}\.tiff has {mode} pixels of 32 bits; save it with 8 or 16"):
            read(tmp_path / f"{mode}.tiff")


@pytest.mark.parametrize("background", ["white", "black", "#102030"])
@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "gif"])
def test_what_is_transparent_shows_the_background(tmp_path, suffix, background):
    data = np.zeros((60, 90, 4), np.uint8)
    data[:, :30] = (200, 10, 20, 0)  # hidden red
    data[:, 30:] = (10, 200, 20, 255)
    options = {"lossless": True, "exact": True} if suffix == "webp" else {}
    Image.fromarray(data).save(tmp_path / f"a.{suffix}", **options)
    found, picture = read(tmp_path / f"a.{suffix}", background)
    empty = np.asarray(Image.new("RGB", (1, 1), background))[0, 0]
    assert (found[:, :30] == empty).all() and (abs(found[:, 31:].astype(int) - [10, 200, 20]) < 4).all()
    assert picture.background == background and not picture.plain


def test_half_transparent_pixels_are_mixed(tmp_path):
    Image.new("RGBA", (40, 40), (100, 0, 0, 128)).save(tmp_path / "a.png")
    assert read(tmp_path / "a.png")[0][0, 0] == pytest.approx([177, 127, 127], abs=1)
    Image.new("LA", (40, 40), (0, 0)).save(tmp_path / "b.png")
    assert (read(tmp_path / "b.png")[0] == 255).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P"])
def test_one_colour_that_is_transparent(tmp_path, mode):
    """PNG's tRNS: a colour, no channel."""
    image = Image.new(mode, (40, 40), 0)
    image.paste(1 if mode == "1" else 100, (0, 0, 40, 20))
    image.save(tmp_path / "a.png", transparency=(0, 0, 0) if mode == "RGB" else 0)
    found, picture = read(tmp_path / "a.png")
    assert (found[20:] == 255).all() and picture.background == "white"


def test_one_grey_of_sixteen_bits_that_is_transparent(tmp_path):
    grey = np.full((40, 40), 1000, np.uint16)
    grey[20:] = 1001  # the same upper eight bits
    Image.fromarray(grey).save(tmp_path / "plain.png")
    data = (tmp_path / "plain.png").read_bytes()
    body = b"tRNS" + (1001).to_bytes(2, "big")
    chunk = (2).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    at = data.index(b"IDAT") - 4
    (tmp_path / "a.png").write_bytes(data[:at] + chunk + data[at:])
    found, _ = read(tmp_path / "a.png")
    assert (found[:20] == 3).all() and (found[20:] == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "RGB", "L", "P", "1", "CMYK"])
def test_opaque_images_are_what_pillow_says(tmp_path, mode):
    suffix = "tiff" if mode == "CMYK" else "png"
    image = Image.fromarray(noise(90, 60)).convert(mode)
    image.save(tmp_path / f"a.{suffix}")
    found, picture = read(tmp_path / f"a.{suffix}")
    with Image.open(tmp_path / f"a.{suffix}") as opened:
        assert np.array_equal(found, np.asarray(opened.convert("RGB")))
    assert picture.plain and picture.background is None


def test_a_png_with_a_workflow(tmp_path):
    for number, options in enumerate(({}, {"zip": True})):
        info = PngImagePlugin.PngInfo()
        info.add_text("workflow", "x" * (8 << 20), **options)
        Image.fromarray(noise(90, 60)).save(tmp_path / f"{number}.png", pnginfo=info)
        assert read(tmp_path / f"{number}.png")[0].shape == (60, 90, 3)


def test_more_pixels_than_are_read(tmp_path, monkeypatch):
    Image.new("L", (90, 60)).save(tmp_path / "a.png")
    monkeypatch.setattr(pixels, "LARGEST", 5000)
    with pytest.raises(BadImage, match=r"a\.png has 90x60 px, more than 5,000; make it smaller"):
        read(tmp_path / "a.png")


@pytest.mark.slow
def test_a_photograph_of_196_megapixels(tmp_path):
    Image.new("RGB", (14000, 14000), (10, 20, 30)).save(tmp_path / "a.jpg")
    assert read(tmp_path / "a.jpg")[0].shape == (14000, 14000, 3)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    for name, said in (("pipe.png", "is no file"), ("link.png", "No such file")):
        with pytest.raises(BadImage, match=rf"{re.escape(name)}.*{said}|{said}"):
            read(tmp_path / name)
    with pytest.raises(UserError, match="No such file") as error:
        read(tmp_path / "gone.png")
    assert not isinstance(error.value, BadImage)


def test_a_disk_that_fails_makes_no_image_bad(tmp_path, monkeypatch):
    def fails(_):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(pixels.Path, "stat", fails)
    with pytest.raises(UserError, match="Input/output error") as error:
        pixels.require_file(tmp_path / "a.png")
    assert not isinstance(error.value, BadImage)
