"""Hook calls that take more than one line and are the same in both trainers."""

from contextlib import contextmanager

from extensions import manager, optimizer_state
from extensions.errors import UserError
from extensions.models import Models
from extensions.saving import replacing


def choose_parameters(models: Models, groups: list[dict]) -> list[dict]:
    """The parameter groups after `select_parameters`: without frozen parameters and empty groups.

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
    """Tell the plugins of the optimizer, whose state from now on is restored as it was saved."""
    if manager.current().names:
        optimizer_state.keep_dtypes(optimizer)
    manager.current().hook.optimizer_built(models=models, optimizer=optimizer)


@contextmanager
def writing_checkpoint(path, metadata: dict[str, str] | None, models: Models, optimizer_steps: int):
    """Give (temporary path, metadata with the plugins' own) to write to.

    The file appears as `path` when the block ends without an error; then the plugins are told.
    """
    extra = manager.current().hook.checkpoint_metadata(models=models, optimizer_steps=optimizer_steps)
    merged = dict(metadata or {})
    for more in reversed(extra):
        merged |= more
    with replacing(path) as temporary:
        yield temporary, merged
    manager.current().hook.checkpoint_saved(path=path, optimizer_steps=optimizer_steps)
