"""Reads what a single-file checkpoint is from its header alone: no tensor is loaded, no torch imported."""

import os
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError, safe_open

from extensions.base.errors import UserError, printable

UNET = "model.diffusion_model."
TE1_SDXL = "conditioner.embedders.0.transformer.text_model."
TE2_SDXL = "conditioner.embedders.1.model."
TE_SD2 = "cond_stage_model.model."
TE_SD1 = "cond_stage_model.transformer."
VAE = "first_stage_model."

FAMILIES = {"sdxl": "SDXL", "sd2": "SD2", "sd1": "SD1.5", "unknown": "not a Stable Diffusion checkpoint"}
# How a pickle begins: a zip archive of one (torch.save), or one of the protocols from 2 on by itself.
ZIP, PICKLE = b"PK\x03\x04", tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
LONGEST_NAME = 100  # characters shown of a tensor's name, which may be anything


@dataclass(frozen=True)
class Header:
    """Tensor shapes and the metadata of a safetensors file. dtypes: {name: as the format writes it, "BF16"}."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    metadata: dict[str, str]
    dtypes: dict[str, str] = field(default_factory=dict)

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
    """Return the header of a safetensors file, which the format's own library has checked against the file.

    UserError: not there, not safetensors whatever its name is, a pickle, a zip archive at the same time, or another
    length than its header says (a broken download, a save that was killed).
    """
    path = Path(path)
    require_file(path)
    try:
        refuse_pickle(path)
        with safe_open(path, framework="np") as file:  # reads no tensor and imports neither numpy nor torch
            slices = {name: file.get_slice(name) for name in file.keys()}  # it is no dict
            shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
            dtypes = {name: each.get_dtype() for name, each in slices.items()}
            return Header(path, shapes, file.metadata() or {}, dtypes)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}); mend that, or give another") from None
    except SafetensorError as error:
        raise UserError(broken(path, str(error))) from None


def require_file(path: Path) -> None:
    """Raise UserError unless there is a plain file: no folder, no FIFO, which would be waited for for ever."""
    if path.is_dir():
        raise UserError(f"{path} is a folder, diffusers' layout perhaps; give one .safetensors file of it all")
    if not path.is_file():
        raise UserError(f"no such checkpoint: {path}")


def refuse_pickle(path: Path) -> None:
    """Raise UserError for a pickle, by its content: to load one runs whatever code its author put there.

    Also for a safetensors file that is a zip archive as well, which some loader might take it for.
    """
    with open(path, "rb") as file:
        begins = file.read(len(ZIP))
    if begins.startswith((ZIP, *PICKLE)) or zipfile.is_zipfile(path):
        raise UserError(
            f"{path} is a pickle or a zip archive, as torch.save writes them (.ckpt): loading one can run any code; "
            "convert it to safetensors where you trust it"
        )


def broken(path: Path, why: str) -> str:
    """In one line, what is wrong with a file that is not, or not wholly, in the format."""
    why = why.removeprefix("Error while deserializing header: ")
    if "not fully covered" in why:
        return f"{path} is truncated, or longer than its header says ({path.stat().st_size:,} bytes); get it again"
    if ", expected one of" in why:  # followed by every dtype there is
        why = why.partition(", expected one of")[0]
    return f"{path} is not a safetensors file, or is damaged ({shortened(why)}); get it again or convert it"


def shortened(name: str) -> str:
    """Return a name from a file for a line of text: what does not print is escaped, and it is not too long."""
    shown = printable(name)
    return shown if len(shown) <= LONGEST_NAME else f"{shown[:LONGEST_NAME]}…"


def require_family(header: Header, wanted: str) -> None:
    """Raise UserError unless the checkpoint is of the family ("sdxl", "sd2") that the run trains."""
    if header.family != wanted:
        raise UserError(
            f"{header.path} is {FAMILIES[header.family]}, this run needs {FAMILIES[wanted]}; give another base model"
        )
