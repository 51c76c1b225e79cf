"""Weights that move, and averages of them: a model of some hundred numbers, and ranks that are objects."""

from pathlib import Path
from types import SimpleNamespace

import torch
from safetensors.torch import save_file

from extensions.averages import pieces, posthoc, snapshots
from extensions.averages.profiles import Power
from extensions.averages.ranks import Ranks
from extensions.averages.tracks import Tracks
from extensions.model.models import Models


def models(dtype=torch.float32, size: int = 7) -> Models:
    """A U-Net of two tensors that train and one that does not."""
    unet = torch.nn.Sequential(torch.nn.Linear(size, size), torch.nn.Linear(size, 3, bias=False)).to(dtype)
    unet[0].bias.requires_grad_(False)
    return Models("sdxl", unet)


def ranks_of(of: Models, count: int, profiles, begin: int = 0) -> list[Tracks]:
    """The averages of each of `count` ranks of one machine."""
    divided = pieces.divided(pieces.trained(of), count)
    return [Tracks(divided, rank, profiles, begin) for rank in range(count)]


def whole(ranks: list[Tracks], name: str) -> dict[str, torch.Tensor]:
    """An average by tensor of the checkpoint, flat, of the shares of all ranks."""
    found: dict[str, dict[int, torch.Tensor]] = {}
    for tracks in ranks:
        for place, value in tracks.values(name):
            found.setdefault(place.key, {})[place.first] = value
    return {key: torch.cat([parts[first] for first in sorted(parts)]) for key, parts in found.items()}


def walk(of: Models, steps: int, seed: int = 0, rate: float = 0.02):
    """Move the weights as a training does, some way together and some at random; yields the step."""
    draw = torch.Generator().manual_seed(seed)
    parameters = [each for each in of.unet.parameters() if each.requires_grad]
    drift = [torch.randn(each.shape, generator=draw) for each in parameters]
    for step in range(1, steps + 1):
        with torch.no_grad():
            for parameter, way in zip(parameters, drift, strict=True):
                moved = parameter.float() + rate * (torch.randn(way.shape, generator=draw) + way / steps**0.5)
                parameter.copy_(moved)
        yield step


def flat(of: Models) -> torch.Tensor:
    """All trained weights, in float64."""
    return torch.cat([each.detach().double().flatten() for each in of.unet.parameters() if each.requires_grad])


def alone() -> SimpleNamespace:
    """What accelerate has of a run of one process."""
    return SimpleNamespace(num_processes=1, process_index=0, local_process_index=0, is_main_process=True,
                           device=torch.device("cpu"))  # fmt: skip


def save(of: Models, path: Path, step: int, dtype=torch.float32) -> None:
    """A checkpoint of the model, as far as averages look at one."""
    tensors = {f"model.diffusion_model.{name}": each.detach().to(dtype) for name, each in of.unet.named_parameters()}
    save_file(tensors, path, {posthoc.STEPS: str(step), "modelspec.title": path.stem})


def averaged_run(output: Path) -> Models:
    """Write what an averaged run of 20 steps leaves, its last checkpoint and two snapshots. Returns its models."""
    folder = snapshots.folder_of(output)
    folder.mkdir(parents=True)
    snapshots.begin_launch(folder, 0)
    of = models()
    tracks = ranks_of(of, 1, [Power(0.05), Power(0.10)])[0]
    for step in walk(of, 20):
        tracks.update(step)
        if step % 10 == 0:
            snapshots.Keeper(folder, Ranks(alone()), alone()).snapshot(tracks, 1)
    save(of, output / "last.safetensors", 20)
    return of
