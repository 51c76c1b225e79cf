"""Translates U-Net parameter names between the checkpoint's original (LDM) layout and diffusers'.

The mapping is diffusers' own single-file conversion, asked with names in the place of tensors: it moves
values from key to key and looks at none of them. So there is no second table to keep right.
"""

import re
from collections.abc import Iterable

from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

from extensions.model.checkpoint import UNET

LAYERS_PER_BLOCK = 2
ORDER = ("time_embed", "label_emb", "input_blocks", "middle_block", "output_blocks", "out")


def ldm_of_diffusers(names: Iterable[str]) -> dict[str, str]:
    """Return {diffusers name: LDM name} of every U-Net parameter, in the order of the original U-Net.

    names: a checkpoint's keys, of which those under `model.diffusion_model.` count.
    """
    bare = sorted((name.removeprefix(UNET) for name in names if name.startswith(UNET)), key=position)
    config: dict[str, int | str] = {"layers_per_block": LAYERS_PER_BLOCK}
    if any(name.startswith("label_emb.") for name in bare):
        config["addition_embed_type"] = "text_time"
    converted = convert_ldm_unet_checkpoint({UNET + name: name for name in bare}, config)
    return dict(sorted(converted.items(), key=lambda pair: position(pair[1])))


def position(name: str) -> tuple:
    """Sorts LDM names as a sample passes the U-Net; numbers as numbers."""
    first = name.split(".", 1)[0]
    numbers = tuple(int(part) if part.isdigit() else -1 for part in re.split(r"\.", name)[1:3])
    return (ORDER.index(first), numbers, name)
