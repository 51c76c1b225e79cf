"""Recomputes activations (gradient checkpointing): keeps each block's inputs, computes the rest in the backward pass.

The blocks are upstream's: residual blocks and transformer blocks of the U-Net, layers of the text encoders.
diffusers has a switch for the first two, but only for PyTorch's non-reentrant kind, which calls Python for
every tensor that autograd saves; the reentrant kind, upstream's, calls it once a block and is faster where
the GPU waits for Python. Its condition is that some input of a block needs a gradient, or the block's
parameters get none: the timestep embedding, which no percentage freezes, sees to it in the U-Net
(`unet_percent` where a regex freezes that), the token embeddings in the encoders.
"""

import functools
import inspect

import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from torch.utils.checkpoint import checkpoint


def recompute(unet, text_encoders: list) -> None:
    """Switch it on for a run's models, whether they train or only pass gradients on.

    No generator's state is stored a block (on a GPU a copy from the device each time): these models draw
    no random numbers.
    """
    how = {"use_reentrant": True, "preserve_rng_state": False}
    for module in unet.modules():
        if isinstance(module, ResnetBlock2D | BasicTransformerBlock):
            module.forward = recomputed(module.forward, how)
    for encoder in text_encoders:
        encoder.gradient_checkpointing_enable(how)


def recomputed(forward, how: dict):
    """Return `forward` under checkpointing wherever a gradient may be asked for."""
    named = (p for p in inspect.signature(forward).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD)
    parameters = [(p.name, p.default) for p in named]

    @functools.wraps(forward)
    def call(*arguments, **keywords):
        if not torch.is_grad_enabled():
            return forward(*arguments, **keywords)
        # The reentrant kind passes gradients on to positional arguments only.
        rest = [keywords.get(name, default) for name, default in parameters[len(arguments) :]]
        return checkpoint(forward, *arguments, *rest, **how)

    return call
