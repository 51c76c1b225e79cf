"""Draws latents with the models of a run under way, by diffusers' Euler scheduler for what the run trains.

Texts go through the run's own tokenizers, hooks and encoders, chunks of any length, so that an image shows what was
trained. Guided and unguided predictions are two forward passes of one image: their texts may differ in length, and no
more memory is needed than in training. Nothing is clamped: latents are not pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.evaluation.objective import Objective
from extensions.evaluation.prompts import Prompt
from extensions.model.prediction import FLOW

if TYPE_CHECKING:
    import torch

    from extensions.model.models import Models

NULL, ZERO = "null", "zero"  # unconditional: the empty text's states, or zeros, as diffusers' pipeline has for SDXL


def first_noise(prompt: Prompt) -> torch.Tensor:
    """Return standard normal noise, float32 (1, 4, h/8, w/8), from the prompt's own generator on the CPU."""
    import torch

    shape = (1, 4, prompt.height // 8, prompt.width // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(prompt.seed))


class Sampler:
    """Draws with a run's models. tokenize(texts): int64 (b, chunks, 77) a text encoder."""

    def __init__(self, models: Models, tokenize, objective: Objective):
        self.models, self.tokenize, self.objective = models, tokenize, objective
        self.ids: dict[str, list[torch.Tensor]] = {}  # a plugin counts the texts that it cuts: each once

    def encoded(self, text: str) -> list[torch.Tensor]:
        """Return a text's hidden states, as in training."""
        if text not in self.ids:
            self.ids[text] = self.tokenize([text])
        assert self.models.calls is not None  # the training has begun
        return self.models.calls.encode(self.ids[text])

    def latents(self, prompt: Prompt, unconditional: str = NULL) -> torch.Tensor:
        """Draw float32 latents (1, 4, h/8, w/8), scaled as the U-Net has them. For `undisturbed`."""
        import torch

        assert self.models.calls is not None
        wanted = self.encoded(prompt.text)
        unwanted = None
        if prompt.guidance > 1:
            zeros = unconditional == ZERO and not prompt.negative
            unwanted = [torch.zeros_like(each) for each in wanted] if zeros else self.encoded(prompt.negative)
        device, sizes = wanted[0].device, self.sizes(prompt)
        schedule = self.objective.sampler(prompt.steps, prompt.width * prompt.height, device)
        flow = self.objective.prediction == FLOW  # whose latents are what the U-Net is shown
        latents = first_noise(prompt).to(device) * (1 if flow else schedule.init_noise_sigma)
        for timestep in schedule.timesteps:
            scaled, at = latents if flow else schedule.scale_model_input(latents, timestep), timestep[None]
            predicted = self.models.calls.predict(scaled, at, wanted, sizes).float()
            if unwanted is not None:
                without = self.models.calls.predict(scaled, at, unwanted, sizes).float()
                predicted = without + prompt.guidance * (predicted - without)
            latents = schedule.step(predicted, timestep, latents).prev_sample
        return latents

    def sizes(self, prompt: Prompt) -> torch.Tensor | None:
        """Return SDXL's sizes of an image that is neither enlarged nor cropped, int64 (1, 6)."""
        import torch

        if self.models.family != "sdxl":
            return None
        return torch.tensor([[prompt.height, prompt.width, 0, 0, prompt.height, prompt.width]])
