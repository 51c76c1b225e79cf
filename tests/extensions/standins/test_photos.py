"""The photographs and their texts."""

import re

import pytest
from PIL import Image

from extensions.standins import photos
from extensions.standins.photos import photographs


@pytest.fixture(scope="module")
def lengths(standins):
    from transformers import CLIPTokenizer

    tokenizer = CLIPTokenizer.from_pretrained(standins["tokenizers"] / "openai_clip-vit-large-patch14")
    texts = [f"{p.caption or ''}, {p.tags or ''}" for p in photographs()]
    return [len(tokenizer(text, verbose=False).input_ids) - 2 for text in texts]


def test_at_least_twenty_readable_images():
    assert len(photographs()) >= 20
    for photo in photographs():
        with Image.open(photo.path) as image:
            assert min(image.size) >= 64


def test_ids_are_plain_names():
    assert all(re.fullmatch(r"[a-z0-9_]+", p.id) for p in photographs())


def test_lengths_cover_one_to_four_chunks(lengths):
    assert sum(n > 75 for n in lengths) >= 4
    assert sum(n > 225 for n in lengths) >= 3
    assert min(lengths) < 75


def test_tags_are_booru_style():
    for tags in (p.tags.split(", ") for p in photographs() if p.tags):
        assert 10 <= len(tags) <= 40
        assert all(tag and tag == tag.lower() and len(tags) == len(set(tags)) for tag in tags)


def test_awkward_texts_are_there():
    captions, tags = zip(*((p.caption, p.tags) for p in photographs()), strict=True)
    assert captions.count("") == 1 and captions.count(None) == 1 and tags.count(None) == 1
    assert any(c and not c.isascii() for c in captions)
    assert any(c and {"(", "{"} <= set(c) for c in captions)


def test_missing_package_is_a_user_error(monkeypatch, tmp_path):
    broken = tmp_path / "captions.toml"
    broken.write_text('[1]\nfile = "no_such_package/x.png"')
    monkeypatch.setattr(photos, "CAPTIONS", broken)
    with pytest.raises(photos.UserError, match="no_such_package"):
        photographs()
