"""Names the models of a run independently of the trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Calls:
    """How the trainer at hand calls its models in training; for whoever only looks at them, without gradients.

    encode: token ids, one int64 (b, n, 77) a text encoder, as [states (b, tokens, d) …, pooled (b, d2)]; of SD2 as
    [states].
    predict: (noisy latents (b, 4, h, w), timesteps (b,), what encode gave, sizes) as what the U-Net predicts,
    (b, 4, h, w). sizes: (b, 6), original height and width, crop's top and left, target height and width; SD2: None.
    Both use the unwrapped models, under the run's autocast.
    """

    encode: Callable[[list[torch.Tensor]], list[torch.Tensor]]
    predict: Callable[[torch.Tensor, torch.Tensor, list[torch.Tensor], torch.Tensor | None], torch.Tensor]


@dataclass
class Models:
    """The unwrapped models, as loaded.

    family: "sdxl" or "sd2". unet: sd-scripts' SDXL U-Net with LDM names, or one with diffusers' names (SD2
    there, both in the reference trainer). text_encoders: one for SD2, two for SDXL, in the order of the
    checkpoint. vae: the autoencoder; None in the reference trainer, which reads cached latents only.
    unet_names: {diffusers name: LDM name}; None where the names are LDM's already. calls: known when
    training begins.
    """

    family: str
    unet: Any
    text_encoders: list = field(default_factory=list)
    vae: Any = None
    unet_names: dict[str, str] | None = None
    calls: Calls | None = None

    def named(self) -> dict[str, Any]:
        """Return {"U-Net": …, "text encoder 1": …, …}: the trainable models by the name that logs use."""
        encoders = {f"text encoder {i}": model for i, model in enumerate(self.text_encoders, start=1)}
        return {"U-Net": self.unet, **encoders}

    def unet_parameters(self) -> dict[str, Any]:
        """Return {LDM name: Parameter} of the U-Net, in the order in which a sample passes it."""
        parameters = dict(self.unet.named_parameters())
        if self.unet_names is None:
            return parameters
        return {ldm: parameters[name] for name, ldm in self.unet_names.items()}
