"""Builds what a launch that goes on is asked, and the training states that it finds."""

from pathlib import Path

import torch

from extensions.launch.stages import Asked
from extensions.resume import parts, states
from extensions.resume.description import Description
from tests.helpers import asking

PLUGINS = "--extensions=resume_at_step,save_states"


def asked(folder: Path, *more: str, run="25031101", parent="25030802", **environment) -> Asked:
    """Return a launch of `run`, a segment after `parent`, with its output below `folder`."""
    output = f"--output_dir={folder / f'model_out_{run}'}"
    return asking.asked(PLUGINS, output, *more, run=run, facts=("GPUS=1", f"PARENT={parent}"), **environment)


def state(folder: Path, run: str, steps: int) -> states.State:
    """Write a whole training state of `run` at an optimizer step."""
    where = states.folder_of(folder / f"model_out_{run}")
    temporary = states.begin(where, steps)
    entry = parts.Part("w.safetensors", {"w": torch.full((3,), float(steps))}).write(temporary)
    return states.commit(temporary, Description(optimizer_steps=steps), {"w.safetensors": entry})
