"""Reads what a single-file checkpoint is from its header alone: no tensor is loaded, no torch imported."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from extensions.base.errors import UserError

UNET = "model.diffusion_model."
TE1_SDXL = "conditioner.embedders.0.transformer.text_model."
TE2_SDXL = "conditioner.embedders.1.model."
TE_SD2 = "cond_stage_model.model."
TE_SD1 = "cond_stage_model.transformer."
VAE = "first_stage_model."

FAMILIES = {"sdxl": "SDXL", "sd2": "SD2", "sd1": "SD1.5", "unknown": "not a Stable Diffusion checkpoint"}
MAX_HEADER = 100_000_000  # bytes; the format's own limit


@dataclass(frozen=True)
class Header:
    """Tensor shapes and the metadata of a safetensors file."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor. UserError naming the tensor if the file has none of that name."""
        try:
            return self.shapes[name]
        except KeyError:
            raise UserError(f"{self.path}: tensor {name} is missing; the checkpoint is incomplete") from None

    def layers(self, prefix: str) -> int:
        """Return how many numbered sub-modules follow `prefix`: 'a.0.', 'a.1.' give 2."""
        rest = (name[len(prefix) :] for name in self.shapes if name.startswith(prefix))
        return len({text.split(".", 1)[0] for text in rest})

    @property
    def family(self) -> str:
        """ "sdxl", "sd2", "sd1" or "unknown", by the text encoders that the file holds."""
        if not any(name.startswith(UNET) for name in self.shapes):
            return "unknown"
        for family, prefix in (("sdxl", TE2_SDXL), ("sd2", TE_SD2), ("sd1", TE_SD1)):
            if any(name.startswith(prefix) for name in self.shapes):
                return family
        return "unknown"


def read_header(path: str | os.PathLike) -> Header:
    """Return the header of a safetensors file, checked against the file's size.

    UserError: not there, not safetensors, or shorter than its header says (a broken download, a save
    that was killed).
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}")
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(MAX_HEADER, max(size - 8, 0)):
            raise UserError(f"{path} is not a safetensors file (or is cut short); get it again or convert it")
        raw = file.read(length)
    try:
        entries = json.loads(raw)
        metadata = entries.pop("__metadata__", {})
        shapes = {name: tuple(entry["shape"]) for name, entry in entries.items()}
        end = max((entry["data_offsets"][1] for entry in entries.values()), default=0)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        raise UserError(f"{path} is not a safetensors file; get it again or convert it") from None
    if 8 + length + end != size:
        raise UserError(f"{path} is truncated: {size:,} bytes, its header says {8 + length + end:,}; get it again")
    return Header(path, shapes, metadata)


def require_family(header: Header, wanted: str) -> None:
    """Raise UserError unless the checkpoint is of the family ("sdxl", "sd2") that the run trains."""
    if header.family != wanted:
        raise UserError(
            f"{header.path} is {FAMILIES[header.family]}, this run needs {FAMILIES[wanted]}; give another base model"
        )
