"""Draws what a trained checkpoint says of a text, by diffusers' own SDXL pipeline, and finds the nearest picture.

Texts longer than the pipeline takes are encoded here by the rule's own words (A1111: chunks of 75 tokens, each
between its own BOS and EOS, hidden states one after another, the pooled vector the first chunk's), not by the plugin.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import StableDiffusionXLPipeline

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from tests.proofs.pictures import SIDE

CHUNK = 75
STEPS = 20  # of the pipeline's own scheduler
SEEDS = (1, 2, 3, 4)


def pipeline_of(checkpoint: Path, export: Path) -> StableDiffusionXLPipeline:
    """Hand a checkpoint on as a user does, to the folder `export`, and open it. UserError where that fails."""
    words = ["export", f"--checkpoint={checkpoint}", "--format=diffusers", "--dtype=fp32", f"--out={export}"]
    command = [sys.executable, "-m", "extensions.handing_on", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(done.stderr.strip().splitlines()[-1])
    return StableDiffusionXLPipeline.from_pretrained(export, torch_dtype=torch.float32)


def encoded(pipeline: StableDiffusionXLPipeline, text: str, chunked: bool) -> dict[str, torch.Tensor]:
    """Return the pipeline's arguments for a text. chunked: all of it; else what the pipeline takes, 75 tokens."""
    if not chunked:
        states, _, pooled, _ = pipeline.encode_prompt(text, do_classifier_free_guidance=False)
        return {"prompt_embeds": states, "pooled_prompt_embeds": pooled}
    states, pooled = [], None
    for tokenizer, encoder in (
        (pipeline.tokenizer, pipeline.text_encoder),
        (pipeline.tokenizer_2, pipeline.text_encoder_2),
    ):
        said = [encoder(ids, output_hidden_states=True) for ids in chunks(tokenizer, text)]
        states.append(torch.cat([each.hidden_states[-2] for each in said], 1))
        pooled = said[0][0]  # of the second, after its projection
    return {"prompt_embeds": torch.cat(states, 2), "pooled_prompt_embeds": pooled}


def chunks(tokenizer, text: str) -> list[torch.Tensor]:
    """Return the text's ids in chunks, each int64 (1, 77)."""
    ids = tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids
    begin, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    made = []
    for first in range(0, max(len(ids), 1), CHUNK):
        part = ids[first : first + CHUNK]
        made.append(torch.tensor([[begin, *part, end, *[pad] * (CHUNK - len(part))]]))
    return made


@torch.inference_mode()
def draw(pipeline: StableDiffusionXLPipeline, text: str, seed: int, chunked: bool) -> torch.Tensor:
    """Return latents, float32 (4, SIDE/8, SIDE/8), without guidance, as the U-Net has them."""
    return pipeline(
        **encoded(pipeline, text, chunked), height=SIDE, width=SIDE, num_inference_steps=STEPS, guidance_scale=1.0,
        generator=torch.Generator().manual_seed(seed), output_type="latent",
    ).images[0]  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """What was drawn of the eight texts: latents (texts, seeds, 4, h, w), and the nearest picture of each."""

    latents: torch.Tensor
    nearest: torch.Tensor

    def right(self, numbers: Sequence[int]) -> int:
        """Count, over all seeds, the texts of these pictures whose own picture was the nearest."""
        return sum(int((self.nearest[number] == number).sum()) for number in numbers)

    def share(self, numbers: Sequence[int]) -> float:
        """Return the same as a share of the draws."""
        return self.right(numbers) / (len(numbers) * self.nearest.shape[1])


def drawn(pipeline, texts: list[str], targets: torch.Tensor, chunked: bool, seeds=SEEDS, means: bool = True) -> Drawn:
    """Draw each text with each seed. targets: (pictures, 4, h, w), as the U-Net has them. means: see nearest_of."""
    pipeline.set_progress_bar_config(disable=True)
    latents = torch.stack([torch.stack([draw(pipeline, text, seed, chunked) for seed in seeds]) for text in texts])
    return Drawn(latents, nearest_of(latents, targets, means))


def nearest_of(latents: torch.Tensor, targets: torch.Tensor, means: bool = True) -> torch.Tensor:
    """Return which target is nearest, int64 (texts, seeds). latents: (texts, seeds, 4, h, w).

    means: whether a channel's mean counts, a picture's brightness.
    """
    if not means:
        latents, targets = (each - each.mean((-2, -1), keepdim=True) for each in (latents, targets))
    return torch.cdist(latents.flatten(2), targets.flatten(1)[None]).argmin(2)
