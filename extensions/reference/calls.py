"""Calls the reference trainer's models, in training and for whoever only looks at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from extensions.model.models import Calls

if TYPE_CHECKING:
    from extensions.reference.train import Training


def conditions(encoded: list[torch.Tensor], sizes: torch.Tensor | None, dtype: torch.dtype) -> dict:
    """Return the keywords of a U-Net of diffusers, from states (b, 77 n, d); SDXL: of both encoders, pooled (b, d2).

    sizes: SDXL's, (b, 6).
    """
    if sizes is None:
        return {"encoder_hidden_states": encoded[0]}
    first, second, pooled = encoded
    added = {"text_embeds": pooled.to(dtype), "time_ids": sizes.to(pooled.device)}
    return {"encoder_hidden_states": torch.cat([first, second], 2).to(dtype), "added_cond_kwargs": added}


def calls_of(training: Training) -> Calls:
    """Return the calls on the unwrapped models; DDP's would wait for gradients."""
    models, accelerator, dtype = training.models, training.accelerator, training.dtype

    def encode(ids: list[torch.Tensor]) -> list[torch.Tensor]:
        moved = [each.to(accelerator.device) for each in ids]
        return training.text.encode(moved, models.text_encoders, training.projection)

    def predict(noisy, timesteps, encoded, sizes) -> torch.Tensor:
        condition = conditions(encoded, sizes, dtype)
        with accelerator.autocast():
            return models.unet(noisy.to(accelerator.device, dtype), timesteps, **condition).sample

    return Calls(encode, predict)
