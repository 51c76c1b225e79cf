"""Guards the files of weights that upstream's functions read and write: no pickle is loaded, whatever its name.

Upstream chooses between safetensors and `torch.load` by a file's name. Here its content decides, and there is one
answer: safetensors, or a UserError.
"""

import os
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest import mock

import torch

from extensions.model import checkpoint, published, untrained
from extensions.model.checkpoint import VAE, Header
from extensions.trainer import base_model
from extensions.upstream import shapes
from extensions.upstream.uses import set_constants


def is_safetensors(upstream, path) -> bool:
    """Tell by its content of a file that is there; by its name, as upstream, of one that is to be written."""
    if not Path(path).exists():
        return upstream(path)
    checkpoint.read_header(path)
    return True


def load_target(upstream, name_or_path, *arguments, **keywords):
    """Take the base model for a file, wherever a link to it stands; upstream would fetch what is none from a hub."""
    checkpoint.require_file(Path(name_or_path))
    return upstream(os.path.realpath(name_or_path), *arguments, **keywords)


@contextmanager
def without_extras(header: Header, family: str):
    """Let upstream's loaders read what a model consists of: of what else a file holds some of it stops them."""
    from library import model_util, sdxl_model_util

    required, optional = published.layout(header, family)

    def known(load):
        def load_known(path, *arguments, **keywords):
            found = load(path, *arguments, **keywords)
            return {name: tensor for name, tensor in found.items() if name in required or name in optional}

        return load_known

    with ExitStack() as stack:
        for module in (model_util, sdxl_model_util):
            set_constants(stack, module, {"load_file": known(module.load_file)})
        yield


def vae(upstream, path, dtype):
    """Return upstream's autoencoder of a file, of the file's size, and its tensors by their names in a checkpoint."""
    from library import model_util

    header = base_model.vae_header(path)
    bare = not any(name.startswith(VAE) for name in header.shapes)
    whole = Header(header.path, {VAE * bare + name: shape for name, shape in header.shapes.items()}, {})
    with ExitStack() as stack:
        set_constants(stack, model_util, shapes.vae(whole))
        loaded = upstream(path, dtype)
    tensors = {VAE * bare + name: tensor for name, tensor in untrained.mapped(path).items()}
    return loaded, {name: tensor for name, tensor in tensors.items() if name.startswith(VAE)}


@contextmanager
def completed(upstream, complete, base):
    """Let upstream's save write what `complete` makes of its tensors, and read the base model where it is mapped.

    The file that the run began with may be gone by then.
    """
    module = sys.modules[upstream.__module__]
    save_file, save = module.save_file, torch.save

    def save_tensors(tensors, path, metadata=None):
        save_file(complete(tensors), path, metadata)

    def save_pickle(whole, *arguments, **keywords):
        save(whole | {"state_dict": complete(whole["state_dict"])}, *arguments, **keywords)

    with ExitStack() as stack:
        set_constants(stack, module, {"save_file": save_tensors})
        stack.enter_context(mock.patch.object(torch, "save", save_pickle))
        if hasattr(module, "load_checkpoint_with_text_encoder_conversion") and base:
            read = {"load_checkpoint_with_text_encoder_conversion": lambda *_: (None, dict(base))}
            set_constants(stack, module, read)
        yield
