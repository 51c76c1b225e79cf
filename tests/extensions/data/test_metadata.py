"""One entry: read as it is, refused in one line where it is of another kind."""

from pathlib import Path

import pytest

from extensions.base.errors import UserError
from extensions.data.metadata import Sample, key_of, sample_of

META = Path("meta_lat.json")
GOOD = {"tags": "1cat", "caption": "A cat.", "train_resolution": [256, 192]}


def test_texts_and_sizes():
    assert sample_of(META, "7", GOOD) == (Sample("7", "1cat", "A cat.", 256, 192), "")
    bare = {"train_resolution": [64, 64], "caption": None}
    assert sample_of(META, "é", bare) == (Sample("é", "", "", 64, 64), "")


def test_upstreams_image_size_counts_where_the_historical_field_is_not():
    assert sample_of(META, "1", {"image_size": [64, 128]})[0] == Sample("1", "", "", 64, 128)
    assert sample_of(META, "1", GOOD | {"image_size": [999, 77]})[0].width == 256


@pytest.mark.parametrize("entry", ["text", [], 3, None, GOOD | {"tags": 3}, GOOD | {"caption": ["a"]}])
def test_another_kind_of_entry_is_one_line(entry):
    with pytest.raises(UserError, match="^meta_lat.json: .*'1'") as error:
        sample_of(META, "1", entry)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "size",
    [None, [8], [250, 256], [256.5, 256], [64.0, 64], [0, 64], [-64, 64], [True, 8], "64x64", [64] * 3, [8, 1 << 40]],
)  # fmt: skip
def test_a_bad_size_is_told_and_does_not_end_the_reading(size):
    sample, bad = sample_of(META, "1", GOOD | {"train_resolution": size})
    assert (sample.width, sample.height, sample.tags) == (0, 0, "1cat")
    assert "train_resolution of '1'" in bad and "multiples of 8" in bad and "\n" not in bad
    assert len(sample_of(META, "1", {"image_size": list(range(10_000))})[1]) < 200


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("/data/a b/12.jpg", "12"), ("x.y.webp", "x.y"), ("C:\\images\\7.png", "7"), ("bare", "bare"),
        (".hidden", ".hidden"), ("folder/", ""),
    ],
)  # fmt: skip
def test_an_id_is_the_path_without_folder_and_extension(path, key):
    assert key_of(path) == key
