"""Says what a pack of text encoders' outputs is made with: all that a text and its hidden states come from."""

from collections.abc import Mapping

import torch
import xxhash

from extensions import manager
from extensions.base.errors import UserError
from extensions.model import untrained
from extensions.model.checkpoint import TE1_SDXL, TE2_SDXL

# Hooks of the plugins that say what a text is, and what becomes of it.
OF_TEXTS = ("metadata_fields", "compose_text", "tokenize", "encode_tokens")
# The trainers' own flags that do, whatever the plugins read; at 0 or off they say nothing.
FLAGS = ("seed", "mixed_precision", "max_token_length", "caption_separator", "clip_skip")
CONSTANTS = ("logit_scale", "position_ids")  # of a checkpoint, which no hidden state depends on


def of_run(args, index) -> dict[str, str]:
    """Return {what: value} of a run, its plugins loaded. args: the parsed flags; index: of its metadata.

    Flags at their defaults are left out, so that a pack outlives the flags that are added later.
    """
    names = [name for name in manager.current().names if makes_texts(name)]
    own = {flag.name: flag.default for flag in manager.flags_of(names)}
    read = [flag for name in names for flag in getattr(manager.declared(name), "reads", ())]
    given = {name: value for name in own if (value := getattr(args, name)) is not False and value != own[name]}
    given |= {name: value for name in (*FLAGS, *read) if (value := getattr(args, name, None))}
    return {
        "text encoders": encoders_digest(str(args.pretrained_model_name_or_path)),
        "metadata": " ".join(filter(None, (index.fingerprint, index.fields_fingerprint))),
        "plugins for texts": ",".join(names),
        **{f"--{name}": str(value) for name, value in sorted(given.items())},
    }


def makes_texts(name: str) -> bool:
    """Tell whether a plugin has a say in what a text becomes."""
    return any(hasattr(manager.declared(name), hook) for hook in OF_TEXTS)


def encoders_digest(path: str) -> str:
    """Compute the xxh3-128 of SDXL's text encoders in a checkpoint: names, shapes, types and bytes."""
    hasher = xxhash.xxh3_128()
    tensors = untrained.mapped(path)
    for name in sorted(tensors):
        if name.startswith((TE1_SDXL, TE2_SDXL)) and not name.endswith(CONSTANTS):
            tensor = tensors[name].contiguous()
            hasher.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}\n".encode())
            hasher.update(tensor.view(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def require_same(folder, made: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Raise UserError where a run is not what a pack was made for; the line names all that differs."""
    names = [name for name in dict.fromkeys([*made, *now]) if made.get(name) != now.get(name)]
    if names:
        told = "; ".join(
            f"{name}: {made.get(name, 'not set')} there, {now.get(name, 'not set')} here" for name in names
        )
        raise UserError(
            f"the text outputs in {folder} are of another run ({told}); make some for this one (make text-outputs), "
            "or take --text_outputs out"
        )
