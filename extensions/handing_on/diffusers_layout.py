"""Writes the folder that diffusers' pipelines open: weights, configurations, tokenizers and scheduler.

The configurations are those that the models here are built with, the scheduler is the one that `evaluation` draws
with (flow has another), so that a pipeline of the folder draws as the run's own samples were drawn.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import diffusers
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DPMSolverMultistepScheduler, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.evaluation.objective import scheduler_of
from extensions.handing_on.told import Objective
from extensions.model import prediction
from extensions.model.checkpoint import TE1_SDXL, TE2_SDXL, TE_SD2, Header
from extensions.model.sizes import SD2_TEXT_LAYERS, clip_huggingface, clip_open, vae_config
from extensions.reference.models import CLIP, sd2_unet_config, sdxl_unet_config
from extensions.text import tokenizers

PIPELINES = {"sdxl": "StableDiffusionXLPipeline", "sd2": "StableDiffusionPipeline"}
# The files of weights, as `from_pretrained` looks for them.
WEIGHTS = {"unet": "diffusion_pytorch_model.safetensors", "vae": "diffusion_pytorch_model.safetensors",
           "text_encoder": "model.safetensors", "text_encoder_2": "model.safetensors"}  # fmt: skip
# Of the published configurations: what a latent is multiplied by, and that SDXL's autoencoder overflows in fp16, in
# what it computes and not in its weights, so that pipelines run it in float32.
VAE = {"sdxl": {"scaling_factor": 0.13025, "sample_size": 1024, "force_upcast": True},
       "sd2": {"scaling_factor": 0.18215, "sample_size": 768, "force_upcast": False}}  # fmt: skip


def write_configurations(folder: Path, header: Header, objective: Objective) -> None:
    """Write all but the weights."""
    models = empty(header)
    for name in ("unet", "vae"):
        models[name].save_config(folder / name)
    encoders = [name for name in models if name.startswith("text_encoder")]
    for name in encoders:
        models[name].config.architectures = [type(models[name]).__name__]
        models[name].config.save_pretrained(folder / name)
    pads_with_end = header.family == "sdxl"
    tokenizers.write_for_pipelines(folder / "tokenizer", pads_with_end)
    if header.family == "sdxl":
        tokenizers.write_for_pipelines(folder / "tokenizer_2", False)
    scheduler: Any = scheduler_for(objective)
    scheduler.register_to_config(steps_offset=1)  # of these steps none has one; SD2's pipeline warns of any other
    scheduler.save_pretrained(folder / "scheduler")
    index = {name: ["transformers", type(models[name]).__name__] for name in encoders}
    index["scheduler"] = ["diffusers", type(scheduler).__name__]
    (folder / "model_index.json").write_text(json.dumps(index_of(header.family, index), indent=2) + "\n")


def scheduler_for(objective: Objective) -> Any:
    """Return the scheduler whose configuration says what is predicted.

    For flow that is DPM-Solver++: diffusers' own Euler scheduler for flow lacks what the pipelines of SDXL and SD2
    ask of one.
    """
    if objective.prediction != prediction.FLOW:
        return scheduler_of(objective.prediction == prediction.V, objective.zero_snr)
    return DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=objective.flow_shift
    )


def index_of(family: str, classes: dict[str, list[str]]) -> dict:
    """Return model_index.json. classes: of the text encoders and the scheduler."""
    encoders = [name for name in classes if name.startswith("text_encoder")]
    none = [None, None]
    index = {
        "_class_name": PIPELINES[family],
        "_diffusers_version": diffusers.__version__,
        "feature_extractor": none,
        "image_encoder": none,
        **classes,
        **{name.replace("text_encoder", "tokenizer"): ["transformers", "CLIPTokenizer"] for name in encoders},
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }
    if family == "sdxl":
        return index | {"force_zeros_for_empty_prompt": True}
    return index | {"requires_safety_checker": False, "safety_checker": none}


def empty(header: Header) -> dict:
    """Return the models of a folder, of the checkpoint's sizes, without weights."""
    family = header.family
    with init_empty_weights():
        models = {
            "unet": UNet2DConditionModel(**(sdxl_unet_config if family == "sdxl" else sd2_unet_config)(header)),
            "vae": AutoencoderKL(**vae_config(header), **VAE[family]),
        }
        if family == "sd2":
            sizes = clip_open(header, TE_SD2) | {"num_hidden_layers": SD2_TEXT_LAYERS}
            sizes.setdefault("projection_dim", sizes["hidden_size"])  # by which diffusers' single files are divided
            return models | {"text_encoder": CLIPTextModel(CLIPTextConfig(hidden_act="gelu", **CLIP, **sizes))}
        first = CLIPTextConfig(hidden_act="quick_gelu", **CLIP, **clip_huggingface(header, TE1_SDXL))
        second = CLIPTextConfig(hidden_act="gelu", **CLIP, **clip_open(header, TE2_SDXL))
        return models | {
            "text_encoder": CLIPTextModel(first),
            "text_encoder_2": CLIPTextModelWithProjection(second),
        }
