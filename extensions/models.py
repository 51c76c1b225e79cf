"""The models of a run, under names that do not depend on the trainer."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Models:
    """The unwrapped models, as loaded.

    unet: LDM-layout U-Net (sd-scripts' SDXL) or diffusers-layout (SD2). text_encoders: one for SD2, two
    for SDXL, in the order of the checkpoint. vae: the autoencoder. family: "sdxl" or "sd2".
    """

    family: str
    unet: Any
    text_encoders: list = field(default_factory=list)
    vae: Any = None

    def named(self) -> dict[str, Any]:
        """{"U-Net": …, "text encoder 1": …, …}: the trainable models by the name that logs use."""
        encoders = {f"text encoder {i}": model for i, model in enumerate(self.text_encoders, start=1)}
        return {"U-Net": self.unet, **encoders}
