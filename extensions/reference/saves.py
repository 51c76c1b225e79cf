"""Saves checkpoints in the original single-file layout, under upstream's names."""

from datetime import datetime, timezone
from pathlib import Path

import torch
from safetensors.torch import save_file

from extensions.model import prediction, text_names, untrained
from extensions.model.checkpoint import TE2_SDXL, TE_SD2, UNET
from extensions.reference.models import TE1_PREFIX, Loaded
from extensions.trainer import hook_points

DTYPES = {"float": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, None: None}


class Saver:
    """Writes the models of a run; to be asked on process 0 only."""

    def __init__(self, args, loaded: Loaded):
        self.args, self.loaded = args, loaded
        self.folder = Path(args.output_dir)
        self.dtype = DTYPES[args.save_precision]

    def step(self, optimizer_steps: int) -> None:
        """Save the checkpoint of --save_every_n_steps."""
        self.write(f"{self.args.output_name or 'at'}-step{optimizer_steps:08d}", optimizer_steps)

    def epoch(self, epoch: int, optimizer_steps: int) -> None:
        """Save the checkpoint of --save_every_n_epochs; epochs counted from 1."""
        self.write(f"{self.args.output_name or 'epoch'}-{epoch:06d}", optimizer_steps)

    def last(self, optimizer_steps: int) -> None:
        """Save the checkpoint at the end of the run."""
        self.write(self.args.output_name or "last", optimizer_steps)

    def write(self, name: str, optimizer_steps: int) -> None:
        """One checkpoint. It stands under its name only when it is whole."""
        path = self.folder / f"{name}.safetensors"
        print(f"saving {path}", flush=True)
        title = self.metadata(name)
        models = self.loaded.models
        with hook_points.writing_checkpoint(str(path), title, models, optimizer_steps, self.dtype) as (
            temporary,
            metadata,
        ):
            save_file(self.tensors(), temporary, metadata)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return every tensor of the file, on the CPU in the dtype of --save_precision, else in its own.

        What SD2's loader leaves out (the 24th layer, the projection) keeps its dtype, as upstream's does. What does
        not train has the base's bits; the marks say what the U-Net predicts now.
        """
        models = self.loaded.models
        unet = models.unet.state_dict()
        found = {UNET + ldm: self.ready(unet[name]) for name, ldm in models.unet_names.items()}
        encoders = [encoder.state_dict() for encoder in models.text_encoders]
        if models.family == "sdxl":
            found |= {TE1_PREFIX + name: self.ready(tensor) for name, tensor in encoders[0].items()}
        prefix = TE2_SDXL if models.family == "sdxl" else TE_SD2
        found |= {prefix + name: self.ready(tensor) for name, tensor in text_names.to_open_clip(encoders[-1]).items()}
        found = {name: self.kept(name, tensor) for name, tensor in self.loaded.carried.items()} | found
        found = untrained.with_base_bits(found, self.loaded.base, models, self.dtype)
        return untrained.marked(found, prediction.marks_of(self.args, models.family, self.loaded.base))

    def ready(self, tensor: torch.Tensor) -> torch.Tensor:
        """Contiguous, on the CPU, in the dtype of the file."""
        return tensor.detach().to("cpu", self.dtype or tensor.dtype).contiguous()

    def kept(self, name: str, tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the base model that was not trained."""
        untouched = self.loaded.models.family == "sd2" and not name.startswith("first_stage_model.")
        return tensor if untouched else self.ready(tensor)

    def metadata(self, title: str) -> dict[str, str]:
        """Stability's model spec with sd-scripts' values, as far as it is read by others."""
        sdxl, v = self.loaded.models.family == "sdxl", self.args.v_parameterization
        of_sd2 = ("stable-diffusion-v2-768-v", "768x768") if v else ("stable-diffusion-v2-512", "512x512")
        architecture, resolution = ("stable-diffusion-xl-v1-base", "1024x1024") if sdxl else of_sd2
        found = {
            "modelspec.sai_model_spec": "1.0.1",
            "modelspec.architecture": architecture,
            "modelspec.implementation": "https://github.com/Stability-AI/generative-models",
            "modelspec.title": title,
            "modelspec.resolution": resolution,
            "modelspec.date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "modelspec.prediction_type": "v" if v else "epsilon",
        }
        low, high = getattr(self.args, "min_timestep", None), getattr(self.args, "max_timestep", None)
        if low is not None or high is not None:
            found["modelspec.timestep_range"] = f"{low or 0},{1000 if high is None else high}"
        if getattr(self.args, "clip_skip", None) is not None:
            found["modelspec.encoder_layer"] = str(self.args.clip_skip)
        return found
