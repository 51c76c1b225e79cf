"""Names the models of a run independently of the trainer."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Models:
    """The unwrapped models, as loaded.

    family: "sdxl" or "sd2". unet: sd-scripts' SDXL U-Net with LDM names, or one with diffusers' names (SD2
    there, both in the reference trainer). text_encoders: one for SD2, two for SDXL, in the order of the
    checkpoint. vae: the autoencoder; None in the reference trainer, which reads cached latents only.
    unet_names: {diffusers name: LDM name}; None where the names are LDM's already.
    """

    family: str
    unet: Any
    text_encoders: list = field(default_factory=list)
    vae: Any = None
    unet_names: dict[str, str] | None = None

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
