"""Checks the files of weights that a run begins with, from their headers, before anything is built or loaded."""

from pathlib import Path

from extensions.base.errors import UserError
from extensions.model import checkpoint, prediction, published
from extensions.model.checkpoint import VAE, Header


def check(path: str | Path, family: str, v: bool, zero_snr: bool, change: bool) -> list[str]:
    """Return notes on the base model. UserError unless it is a whole model of the family, for what the run trains.

    v, zero_snr, change: --v_parameterization, --zero_terminal_snr and --change_prediction.
    """
    header = checkpoint.read_header(path)
    extras = published.check(header, family)
    notes = [f"note: {path} also holds {', '.join(extras)}, which no trainer reads"] if extras else []
    return notes + prediction.check(header, v, zero_snr, change)


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
        for note in check(path, family, args.v_parameterization, args.zero_terminal_snr, change):
            print(note, flush=True)
