"""Calls the hooks that take more than one line and are the same in both trainers."""

from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError

from extensions import manager
from extensions.base.errors import UserError
from extensions.base.saving import replacing_checkpoint, require_room
from extensions.flags import settings
from extensions.model.models import Models
from extensions.optimizers import gradients, waiting
from extensions.optimizers import state as optimizer_state
from extensions.trainer import checks


def accelerator_made(args, accelerator) -> None:
    """Tell accelerate, before it prepares a model, how gradients are kept.

    UserError where it has set up other processes than were asked for.
    """
    checks.deepspeed_set_up(args, accelerator)
    checks.training_together(accelerator)
    if settings.of_args(args).gradients_once:
        gradients.keep_once(accelerator)


def choose_parameters(models: Models, groups: list[dict]) -> list[dict]:
    """Return the parameter groups after `select_parameters`: without frozen parameters and empty groups.

    groups: [{"params": [Parameter, …], "lr": float}, …]. Without plugins they come back as they are.
    UserError when nothing is left to train.
    """
    manager.current().hook.select_parameters(models=models, groups=groups)
    if not manager.current().names:
        return groups
    kept = [group | {"params": [p for p in group["params"] if p.requires_grad]} for group in groups]
    kept = [group for group in kept if group["params"]]
    if not kept:
        raise UserError("nothing is left to train: the plugins froze every parameter that had a learning rate")
    return kept


def optimizer_built(models: Models, optimizer) -> None:
    """Tell the plugins of the optimizer, made to wait only where it must and to restore its state as it was saved."""
    waiting.wait_only_where_needed(optimizer)
    if manager.current().names:
        optimizer_state.keep_dtypes(optimizer)
    manager.current().hook.optimizer_built(models=models, optimizer=optimizer)


# How torch.save says that the disk did not take what it wrote.
TORCH_SAVE = ("PytorchStreamWriter", "inline_container")


@contextmanager
def writing_checkpoint(
    path, metadata: dict[str, str] | None, models: Models, optimizer_steps: int, dtype: torch.dtype | None = None
):
    """Give (temporary path, metadata with the plugins' own) to write to. dtype: of the file; None: the models' own.

    The file appears as `path` when the block ends without an error; then the plugins are told. UserError where the
    disk does not hold it, before where that is clear: a run whose checkpoints are lost must not go on for days.
    """
    extra = manager.current().hook.checkpoint_metadata(models=models, optimizer_steps=optimizer_steps)
    merged = dict(metadata or {})
    for more in extra:
        merged |= more
    try:
        with replacing_checkpoint(path) as temporary:
            require_room(Path(path).parent, least_bytes(models, dtype), "a checkpoint")
            yield temporary, merged
    except (OSError, SafetensorError, UserError) as error:
        raise unwritten(path, optimizer_steps, error) from None
    except RuntimeError as error:
        if not any(sign in str(error) for sign in TORCH_SAVE):
            raise
        raise unwritten(path, optimizer_steps, error) from None
    manager.current().hook.checkpoint_saved(path=path, optimizer_steps=optimizer_steps)


def least_bytes(models: Models, dtype: torch.dtype | None) -> int:
    """Return what a checkpoint takes at the least: U-Net and text encoders, in its dtype or in their own.

    No autoencoder.
    """
    weights = (parameter for model in models.named().values() for parameter in model.parameters())
    return sum(each.numel() * (dtype.itemsize if dtype else each.element_size()) for each in weights)


def unwritten(path, optimizer_steps: int, error: Exception) -> UserError:
    """In one line, that a checkpoint was not written, and why."""
    why = str(error).partition("\n")[0]
    return UserError(
        f"no checkpoint {path} at optimizer step {optimizer_steps:,}: {why}; earlier ones and the states are whole"
    )
