"""Writes checkpoint files byte by byte: what a library would not write can be written, and weights take no disk."""

import json
import math
import struct
from pathlib import Path

from extensions.model.full_size import SD2_UNET, SDXL_UNET
from extensions.model.shapes import Shapes, prefixed
from extensions.model.shapes_text import clip_shapes, open_clip_shapes
from extensions.model.shapes_unet import unet_shapes
from extensions.model.shapes_vae import vae_shapes
from extensions.standins.model_sd2 import sd2_shapes
from extensions.standins.model_sdxl import POSITION_IDS, sdxl_shapes

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "I8": 1, "U8": 1, "I32": 4, "I64": 8, "BOOL": 1}


def small(family: str) -> Shapes:
    """Every tensor of a stand-in, by name."""
    return sdxl_shapes() if family == "sdxl" else sd2_shapes()


def full(family: str) -> Shapes:
    """Every tensor of a published model."""
    if family == "sd2":
        return {
            **prefixed("model.diffusion_model.", unet_shapes(SD2_UNET)),
            **prefixed("cond_stage_model.model.", open_clip_shapes(1024, 24, 1024)),
            **prefixed("first_stage_model.", vae_shapes(128)),
        }
    return {
        **prefixed("model.diffusion_model.", unet_shapes(SDXL_UNET)),
        **prefixed("conditioner.embedders.0.transformer.", clip_shapes(768, 12)),
        **prefixed("conditioner.embedders.1.model.", open_clip_shapes(1280, 32, 1280)),
        **prefixed("first_stage_model.", vae_shapes(128)),
    }


def entries(shapes: Shapes, dtypes: dict[str, str] | None = None, default: str = "F16") -> dict:
    """The header of these tensors, one after the other; position ids are whole numbers."""
    known, found, at = {POSITION_IDS: "I64"} | (dtypes or {}), {}, 0
    for name, shape in shapes.items():
        dtype = known.get(name, default)
        end = at + math.prod(shape) * BYTES[dtype]
        found[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    return found


def write(path: Path, header: dict | bytes, metadata: dict | None = None, length: int | None = None) -> Path:
    """Write a file with this header, whatever it says, and the zeros that it asks for: a hole in the file."""
    ends = [entry["data_offsets"][1] for entry in header.values()] if isinstance(header, dict) else [0]
    if isinstance(header, dict):
        header = json.dumps(header | ({"__metadata__": metadata} if metadata else {})).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(header) if length is None else length) + header)
        file.truncate(8 + len(header) + max(ends, default=0))
    return path
