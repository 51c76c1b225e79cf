"""Calls upstream's models as its trainers do, for whoever only looks at them."""

import torch

from extensions import loop
from extensions.model.models import Calls, Models

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def calls_of(models: Models) -> Calls:
    """Return the calls on the unwrapped models; they need the run that is under way."""
    return Calls(
        lambda ids: encode(models, ids),
        lambda noisy, timesteps, encoded, sizes: predict(models, noisy, timesteps, encoded, sizes),
    )


def under_way():
    """Return (the accelerator, the dtype in which the U-Net is fed)."""
    run = loop.current()
    assert run is not None  # the calls are for a run that has begun
    return run.accelerator, DTYPES[run.accelerator.mixed_precision]


def encode(models: Models, ids: list[torch.Tensor]) -> list[torch.Tensor]:
    """Encode by upstream's strategy, which a plugin may answer for."""
    from library.strategy_base import TextEncodingStrategy, TokenizeStrategy

    accelerator, _ = under_way()
    moved = [each.to(accelerator.device) for each in ids]
    encoders = [*models.text_encoders, *models.text_encoders[1:]]  # SDXL's second once more, as the unwrapped one
    return TextEncodingStrategy.get_strategy().encode_tokens(TokenizeStrategy.get_strategy(), encoders, moved)


def predict(models: Models, noisy, timesteps, encoded, sizes) -> torch.Tensor:
    """Call the U-Net as sdxl_train.py and fine_tune.py do."""
    accelerator, dtype = under_way()
    noisy = noisy.to(accelerator.device, dtype)
    with accelerator.autocast():
        if sizes is None:
            return models.unet(noisy, timesteps, encoded[0]).sample
        from library.sdxl_train_util import get_size_embeddings

        first, second, pooled = encoded
        embedded = get_size_embeddings(*sizes.split(2, dim=1), accelerator.device).to(dtype)
        vector = torch.cat([pooled, embedded], 1).to(dtype)
        return models.unet(noisy, timesteps, torch.cat([first, second], 2).to(dtype), vector)
