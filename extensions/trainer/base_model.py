"""Checks the files of weights that a run begins with, from their headers, before anything is built or loaded."""

from dataclasses import replace
from pathlib import Path

from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.flags.settings import Settings
from extensions.model import checkpoint, prediction, published
from extensions.model.checkpoint import VAE, Header


def check(path: str | Path, asked: Settings, change: bool) -> list[str]:
    """Return notes on the base model. UserError unless it is a whole model of the family, for what the run trains.

    change: --change_prediction.
    """
    header = checkpoint.read_header(path)
    extras = published.check(header, asked.family)
    notes = [f"note: {path} also holds {', '.join(extras)}, which no trainer reads"] if extras else []
    return notes + prediction.check(header, asked.prediction, asked.zero_snr, change)


def vae_header(path: str | Path) -> Header:
    """Return the header of --vae. UserError unless it is a safetensors file of an autoencoder, in LDM's layout."""
    try:
        header = checkpoint.read_header(path)
        published.check_vae(header, VAE if any(name.startswith(VAE) for name in header.shapes) else "")
    except UserError as error:
        raise UserError(f"--vae: {error}") from None
    if str(path).endswith(".bin"):
        raise UserError(f"--vae: {path} is a safetensors file that sd-scripts takes for a pickle; rename it")
    return header


def check_args(args, family: str) -> None:
    """Do the same for a trainer's parsed flags, and print the notes: a launch has done it, a direct start has not."""
    path, vae = (getattr(args, name, None) for name in ("pretrained_model_name_or_path", "vae"))
    if vae:
        vae_header(vae)
    if path:
        change = getattr(args, prediction.CHANGE, False)
        for note in check(path, replace(settings.of_args(args), family=family), change):
            print(note, flush=True)
