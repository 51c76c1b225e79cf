"""Photographs of strangers: how they lie, how small they are, in which encoding their texts are."""

import json

import numpy as np
import pytest
from PIL import Image, ImageOps

from extensions.base.errors import UserError
from extensions.data.make import encode
from extensions.data.make.pixels import Reading
from tests.helpers.encoding_cases import read, reasons, wish


def test_images_that_are_too_small_are_left_out_counted_and_listed(photographs, standins, fast, capsys):
    for name, size in (("dot", (1, 1)), ("thin", (1, 16_000)), ("icon", (33, 33))):
        Image.new("RGB", size).save(photographs / f"{name}.png")
    (photographs / ".thumbnails").mkdir()
    asked = wish(photographs, standins)
    assert encode.encode(asked) == (4, 3) and len(fast) == 4
    said = capsys.readouterr().out
    assert "3 images left out: 2 too small, 1 enlarged too far; passed over: 1 .md file, 1 hidden folder" in said
    found = {"dot": "too small", "thin": "too small", "icon": "enlarged too far", ".thumbnails": "hidden folder"}
    assert reasons(asked.out) == found
    assert set((asked.out / "left_out.txt").read_text().split()) == {"dot", "thin", "icon"}
    more = wish(photographs, standins, reading=Reading(min_side=1, max_enlarge=1000))
    assert encode.encode(more) == (7, 0) and read(asked.out)["thin"]["train_resolution"] == [256, 1024]
    assert encode.encode(asked) == (4, 3) and len(fast) == 7, "what was encoded is left out, and nothing done again"


def test_images_that_an_older_version_read_otherwise_are_encoded_again(photographs, standins, fast):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (90, 60)).save(photographs / "phone.jpg", exif=exif)
    Image.new("RGBA", (90, 60), (9, 9, 9, 0)).save(photographs / "cut.png")
    asked = wish(photographs, standins)
    encode.encode(asked)
    for ledger in (asked.out / "prepared").glob("*.jsonl"):
        entries = [json.loads(line) for line in ledger.read_text().split("\n") if line]
        older = [
            {name: each[name] for name in ("id", "source", "rule", "encoder", "train_resolution")} for each in entries
        ]
        ledger.write_text("".join(json.dumps(each) + "\n" for each in older))
    fast.clear()
    encode.encode(asked)
    assert len(fast) == 2
    encode.encode(asked)
    assert len(fast) == 2
    encode.encode(wish(photographs, standins, reading=Reading(background="black")))
    assert len(fast) == 3, "only what shows the background"


def test_texts_are_checked_before_the_first_image_is_encoded(photographs, standins, fast):
    (photographs / "below" / "p.3.txt").write_bytes("é".encode("latin-1"))
    (photographs / "p.1.caption").write_bytes("A cat.".encode("utf-16"))
    with pytest.raises(UserError, match=r"cannot be read .*; 2 such, all in .*BAD=skip"):
        encode.encode(wish(photographs, standins))
    assert not fast
    asked = wish(photographs, standins, bad="skip")
    assert encode.encode(asked) == (2, 2) and set(read(asked.out)) == {"p.0", "p.2"}
    assert reasons(asked.out) == {"p.1": "text cannot be read", "p.3": "text cannot be read"}


def test_the_metadata_have_what_was_checked(photographs, standins, fast, monkeypatch):
    (photographs / "p.0.txt").write_bytes(b"\xef\xbb\xbf1cat")
    plain = encode.checking.check

    def check(*words):
        plain(*words)
        (photographs / "p.0.txt").write_bytes(b"\xff")

    monkeypatch.setattr(encode.checking, "check", check)
    asked = wish(photographs, standins)
    assert encode.encode(asked) == (4, 0) and read(asked.out)["p.0"]["tags"] == "1cat"
    assert set((asked.out / "no_text.txt").read_text().split()) == {"p.2", "p.3"}


def test_ids_with_folders(photographs, standins, fast):
    Image.new("RGB", (64, 64)).save(photographs / "below" / "p.0.png")
    asked = wish(photographs, standins, ids="path")
    assert encode.encode(asked) == (5, 0)
    assert set(read(asked.out)) == {"p.0", "p.1", "p.2", "below/p.0", "below/p.3"}
    assert (asked.out / "latents" / "below" / "p.3.npz").is_file()


def test_names_of_250_bytes(photographs, standins, fast):
    names = ["x" * 251, "日" * 83]
    for name in names:
        Image.new("RGB", (64, 64)).save(photographs / f"{name}.png")
    asked = wish(photographs, standins)
    assert encode.encode(asked) == (6, 0) and set(names) < set(read(asked.out))
    assert not list((asked.out / "latents").glob(".*"))


@pytest.mark.parametrize("out", ["images", "images/out", "images/../images/below/out", "link"])
def test_out_inside_the_images(photographs, standins, fast, out):
    (photographs.parent / "link").symlink_to(photographs / "below")
    before = sorted(photographs.rglob("*"))
    with pytest.raises(UserError, match=r"OUT=.* lies in the folder of images .*; give a folder outside"):
        encode.encode(encode.Wish(photographs, photographs.parent / out, standins["sd2"]))
    assert sorted(photographs.rglob("*")) == before


@pytest.mark.slow
def test_a_photograph_lies_as_it_was_seen_in_all_eight_orientations(tmp_path, standins):
    """Latents equal those of the upright image, turned by Pillow's rule and saved without loss."""
    folder = tmp_path / "images"
    folder.mkdir()
    draw = np.random.default_rng(3)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = draw.integers(0, 256, (60, 90, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"phone{orientation}.jpg", exif=exif)
        with Image.open(folder / f"phone{orientation}.jpg") as phone:
            upright = ImageOps.exif_transpose(phone)
        Image.fromarray(np.asarray(upright)).save(folder / f"upright{orientation}.png")
    asked = encode.Wish(folder, tmp_path / "out", standins["sd2"])
    assert encode.encode(asked) == (16, 0)
    for orientation in range(1, 9):
        pair = [np.load(asked.out / "latents" / f"{kind}{orientation}.npz") for kind in ("phone", "upright")]
        assert all(np.array_equal(*(arrays[name] for arrays in pair)) for name in pair[0])
        assert tuple(pair[0]["original_size"]) == ((60, 90) if orientation > 4 else (90, 60))
    entries = read(asked.out)
    assert entries["phone6"]["train_resolution"] == entries["phone1"]["train_resolution"][::-1]
