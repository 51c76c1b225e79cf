"""Eight pictures with their texts, and a small SDXL that knows none of them: what `make proof` trains.

Two captions are equal in their first 75 tokens, and two pictures have tags beside an empty caption: what a trainer
loses of a text, it loses of these.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image, ImageOps
from safetensors.torch import load_file, save_file

from extensions.base.paths import STANDIN_DATASETS, STANDIN_MODELS
from extensions.data import npz
from extensions.data.make.prepare import Source, prepare
from extensions.model.checkpoint import TE2_SDXL, UNET
from extensions.model.diffusion import LATENT_SCALE
from extensions.model.shapes import prefixed
from extensions.model.shapes_unet import UNetSize, unet_shapes
from extensions.standins import datasets, weights
from extensions.standins.ensure import ensure_all
from extensions.standins.model_sdxl import PROJECTION, TEXT_1, TEXT_2
from extensions.standins.photos import photographs

SIDE = 128  # pixels: the least that three levels of a U-Net and a person's eye can tell apart
LONG = (
    "One of many photographs that hang beside each other in the long corridor of an old museum of science and of "
    "the arts where every visitor stops for a moment before he walks on to the next room and where the guide who has "
    "told the same story for thirty years says of each of them that it was taken on a clear day by somebody who had "
    "a steady hand and all the time in the world and that it shows us "
)


@dataclass(frozen=True)
class Picture:
    """One of the eight. photo: a stand-in photograph's id. A part that is empty is trained without."""

    photo: str
    caption: str
    tags: str = ""

    @property
    def text(self) -> str:
        """Caption, then tags."""
        return ", ".join(part for part in (self.caption, self.tags) if part)


# Of the stand-in photographs those whose latents are far from each other: 33 and more, of norms of 19 to 49.
PICTURES = (
    Picture("chelsea", "A ginger cat looks past the camera.", "cat, whiskers, close-up"),
    Picture("coffee", "A red cup of coffee on a wooden table.", "cup, coffee, spoon"),
    Picture("20001", "A motorcycle in a garage.", "motorcycle, tools, indoors"),
    Picture("1006", "The hand of a clock moves.", "clock, motion blur, wall"),
    Picture("rocket", LONG + "a rocket at night"),
    Picture("china", LONG + "a palace by a lake"),
    Picture("1012", "", "tissue, microscope, brown glands"),
    Picture("1017", "", "page of a book, paragraphs, letters"),
)
# Below 64 channels each would be a group of its own for the group norms, which then lose every channel's mean.
UNET_SIZE = UNetSize(64, (1, 2, 4), (0, 1, 1), 1, context=TEXT_1 + TEXT_2, vector=PROJECTION + 6 * 256)
PLAIN = range(4)
EQUAL_AT_FIRST = (4, 5)  # the first 75 tokens of these are the same
TAGS_ONLY = (6, 7)


@dataclass(frozen=True)
class Prepared:
    """folder: what learn.sh calls PROOF. tokenizers: for --tokenizer_cache_dir."""

    folder: Path
    tokenizers: Path

    @property
    def base(self) -> Path:
        return self.folder / "base.safetensors"

    @property
    def pictures(self) -> list[Path]:
        """The pictures' files, in order."""
        return [self.folder / "pictures" / f"{picture.photo}.png" for picture in PICTURES]

    @property
    def targets(self) -> torch.Tensor:
        """The latents that are trained, float32 (8, 4, SIDE/8, SIDE/8), scaled as the U-Net has them."""
        read = [npz.arrays_of(npz.path_of(self.folder / "latents", picture.photo))[0] for picture in PICTURES]
        return torch.stack([torch.from_numpy(latents) for latents in read]) * LATENT_SCALE["sdxl"]


def made(folder: Path, standins: dict[str, Path] | None = None) -> Prepared:
    """Make pictures, latents, metadata for both ways to read them, and the base model, below `folder`."""
    standins = standins or ensure_all(STANDIN_MODELS, STANDIN_DATASETS)
    drawn = folder / "pictures"
    drawn.mkdir(parents=True)
    files = {photo.id: photo.path for photo in photographs()}
    sources, upstreams = [], {}
    for picture in PICTURES:
        path = drawn / f"{picture.photo}.png"
        with Image.open(files[picture.photo]) as photo:
            ImageOps.fit(photo.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS).save(path)
        sources.append(Source(picture.photo, path, picture.tags, picture.caption))
        upstreams[str(path)] = {"caption": picture.caption, "tags": picture.tags, "image_size": [SIDE, SIDE]}
    (folder / "upstream.json").write_text(json.dumps(upstreams), encoding="utf-8")
    save_file(base_of(standins["sdxl"]), folder / "base.safetensors")
    encode = datasets.mode_encoder(folder / "base.safetensors")
    prepare(sources, folder / "latents", folder / "meta_lat.json", encode, max_area=SIDE * SIDE)
    return Prepared(folder, standins["tokenizers"])


def base_of(standin: Path) -> dict[str, torch.Tensor]:
    """Return the stand-in SDXL with a U-Net that can learn from random weights: wider, at the usual scales.

    The stand-in's own is made to move at rates of 1e-6 and learns little beyond that. Texts of random encoders differ
    little from each other; larger weights where they come in make up for it. Training and diffusers multiply the
    pooled text by the projection from different sides (docs/two-trainers.md): here it is symmetric.
    """
    small = ("out_layers.3.weight", "ff.net.2.weight", "out.2.weight")
    scales = dict.fromkeys(small, 0.1) | {"attn2.to_k.weight": 3.0, "attn2.to_v.weight": 3.0}
    unet = weights.fill(prefixed(UNET, unet_shapes(UNET_SIZE)), weights.by_suffix(scales))
    unet[f"{UNET}label_emb.0.0.weight"][:, :PROJECTION] *= 15  # the pooled vector; sizes of the picture follow it
    rest = {name: tensor for name, tensor in load_file(standin).items() if not name.startswith(UNET)}
    projection = rest[TE2_SDXL + "text_projection"].float()
    rest[TE2_SDXL + "text_projection"] = (projection + projection.T) / 2**0.5
    return rest | unet
