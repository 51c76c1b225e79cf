"""From an image to an npz, with a stand-in for the VAE that averages 8x8 pixels."""

import json

import numpy as np
import pytest
from PIL import Image

from extensions.base.errors import UserError
from extensions.data.make.prepare import Source, prepare


class Encoder:
    """Counts its calls; latents are block means of the pixels, a fourth channel is their mean."""

    def __init__(self):
        self.calls = 0

    def __call__(self, pixels):
        self.calls += 1
        assert pixels.dtype == np.float32 and pixels.shape[:2] == (1, 3) and abs(pixels).max() <= 1
        _, _, height, width = pixels.shape
        blocks = pixels.reshape(1, 3, height // 8, 8, width // 8, 8).mean((3, 5))
        return np.concatenate([blocks, blocks.mean(1, keepdims=True)], axis=1)


@pytest.fixture
def image(tmp_path):
    # Left third red, middle green, right third blue: the crop takes from both ends alike.
    pixels = np.zeros((100, 300, 3), np.uint8)
    for third in range(3):
        pixels[:, 100 * third : 100 * third + 100, third] = 255
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def run(tmp_path, sources, encode, area=256 * 256, encoder=""):
    prepare(sources, tmp_path / "out", tmp_path / "meta.json", encode, max_area=area, encoder=encoder)
    return json.loads((tmp_path / "meta.json").read_text())


def test_arrays_and_metadata(tmp_path, image):
    meta = run(tmp_path, [Source("a", image, "tag", "")], Encoder())
    assert meta == {"a": {"tags": "tag", "caption": "", "train_resolution": [384, 128]}}
    arrays = dict(np.load(tmp_path / "out" / "a.npz"))
    assert set(arrays) == {"latents", "original_size", "crop_ltrb"}
    assert arrays["latents"].dtype == np.float32 and arrays["latents"].shape == (4, 16, 48)
    assert arrays["original_size"].tolist() == [300, 100]
    assert arrays["crop_ltrb"].tolist() == [0, 0, 384, 128]
    assert arrays["latents"][0, :, 0] == pytest.approx(1) and arrays["latents"][2, :, -1] == pytest.approx(1)


def test_second_run_encodes_nothing(tmp_path, image):
    encoder = Encoder()
    for _ in range(2):
        run(tmp_path, [Source("a", image)], encoder)
    assert encoder.calls == 1
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.parametrize("change", ["source", "area", "encoder", "truncated", "ledger"])
def test_changed_things_are_encoded_again(tmp_path, image, change):
    encoder = Encoder()
    run(tmp_path, [Source("a", image)], encoder)
    if change == "source":
        Image.new("RGB", (50, 50)).save(image)
    if change == "truncated":
        npz = tmp_path / "out" / "a.npz"
        npz.write_bytes(npz.read_bytes()[:200])
    if change == "ledger":
        (tmp_path / "out" / "prepared.jsonl").write_text("{")
    area = 128 * 128 if change == "area" else 256 * 256
    run(tmp_path, [Source("a", image)], encoder, area, "new" if change == "encoder" else "")
    assert encoder.calls == 2


def test_interrupted_run_goes_on(tmp_path, image):
    encoder = Encoder()
    with pytest.raises(UserError, match="b.png"):
        run(tmp_path, [Source("a", image), Source("b", tmp_path / "b.png")], encoder)
    assert (tmp_path / "out" / "a.npz").exists() and not (tmp_path / "meta.json").exists()
    run(tmp_path, [Source("a", image)], encoder)
    assert encoder.calls == 1


@pytest.mark.parametrize("ids", [["x", "x"], ["a/b"], [""]])
def test_bad_ids_are_user_errors(tmp_path, image, ids):
    with pytest.raises(UserError, match="id"):
        run(tmp_path, [Source(i, image) for i in ids], Encoder())


def test_broken_image_is_a_user_error(tmp_path):
    (tmp_path / "b.png").write_bytes(b"not a picture")
    with pytest.raises(UserError, match="b.png"):
        run(tmp_path, [Source("b", tmp_path / "b.png")], Encoder())
