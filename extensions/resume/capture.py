"""Captures what makes up a training state: weights, optimizer, schedule, loss scale, RNG states; and puts it back.

Every process calls these functions together. Process 0 keeps what all have in common; where the optimizer is divided,
by ZeRO or by weight (`optimizer_shares.py`), each keeps its own share.
"""

from collections.abc import Callable, Iterable

import torch
from accelerate import DistributedType
from accelerate.utils import gather_object

from extensions.base.errors import NotFinite, UserError
from extensions.model.models import Models
from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers.finite import finite
from extensions.resume import optimizer_shares, parts, randomness
from extensions.resume.description import State
from extensions.resume.parts import size_of

PROGRESS = "progress.safetensors"
SIMPLE = (bool, int, float, str, type(None))


def values(run, models: Models) -> list[tuple[str, Callable[[], object]]]:
    """Return (file name, function that gives its value) of each part that this process keeps.

    The random streams of all processes are gathered here: the functions may be called by one process alone.
    """
    streams = gather_object([randomness.streams()])
    found = []
    if run.accelerator.is_main_process:
        found += [(file_of(name), model.state_dict) for name, model in models.named().items()]
        found.append((PROGRESS, lambda: progress(run, streams)))
    if optimizer_file(run) != optimizer_shares.WHOLE or run.accelerator.is_main_process:
        found.append((optimizer_file(run), lambda: optimizer(run)))
    return found


def expected_bytes(models: Models, optimizer) -> int:
    """Return what a state will take, the files of all processes together, before the optimizer has any state.

    By the optimizer's table, else as two fp32 moments; ZeRO keeps fp32 weights beside them.
    """
    weights = sum(size_of(model.state_dict()) for model in models.named().values())
    trained = [p for model in models.named().values() for p in model.parameters() if p.requires_grad]
    elements = sum(parameter.numel() for parameter in trained)
    zero = hasattr(optimizer, "single_partition_of_fp32_groups")
    facts = optimizer_facts.of_optimizer(optimizer.optimizer if zero else optimizer)
    if facts is None:
        return weights + (12 if zero else 8) * elements
    if zero:  # flat pieces of all weights together
        return weights + 4 * elements + facts.bytes_of((elements,), 4)
    return weights + sum(facts.bytes_of(tuple(each.shape), each.element_size()) for each in trained)


def require_finite(run, models: Models) -> None:
    """NotFinite, naming the first weight that is NaN or infinite: a state of it would replace a good one."""
    weights = {name: model.state_dict() for name, model in models.named().items()}
    every = (tensor for of_model in weights.values() for tensor in of_model.values())
    if finite(tensor for tensor in every if tensor.is_floating_point()):
        return
    for name, of_model in weights.items():
        for key, tensor in of_model.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise NotFinite(
                    f"{name}: {key} is not finite at optimizer step {run.optimizer_steps:,}; no state saved"
                )


def file_of(name: str) -> str:
    """Return the file of a model's weights."""
    return f"{name.replace(' ', '_')}.safetensors"


def divided(run) -> bool:
    """Tell whether ZeRO has divided the optimizer."""
    return run.accelerator.distributed_type == DistributedType.DEEPSPEED


def optimizer_file(run) -> str:
    """Return this process's file of optimizer state."""
    return f"optimizer-{run.accelerator.process_index}.safetensors" if divided(run) else optimizer_shares.file_of(run)


def optimizer(run) -> dict:
    """Return what this process has of the optimizer's state; under ZeRO with the fp32 weights that it keeps."""
    if not divided(run):
        return run.optimizer.state_dict()
    zero = run.optimizer.optimizer
    whole = zero.state_dict()
    return {
        "base": whole["base_optimizer_state"],
        "fp32": whole["single_partition_of_fp32_groups"],
        "overflow": bool(whole["overflow"]),
        "scaler": {name: value for name, value in vars(zero.loss_scaler).items() if isinstance(value, SIMPLE)},
    }


def progress(run, streams: list[dict]) -> dict:
    """Schedule, loss scale and random streams."""
    scaler = run.accelerator.scaler
    return {
        "schedule": run.lr_scheduler.state_dict(),
        "scaler": scaler.state_dict() if scaler is not None else None,
        "random": streams,
    }


def restore(run, models: Models, state: State) -> dict:
    """Put everything back but the random streams of this process, which are returned: they are for the last moment.

    UserError where the state is of another model or optimizer. All processes of a machine do this at once: weights
    are read a tensor at a time, and the optimizer's state straight to each one's device, so that a machine needs
    memory for neither of them four times.
    """
    for name, model in models.named().items():
        restore_weights(model, parts.read_tensors(state.file(file_of(name))), f"{state.path}: {name}")
    restore_optimizer(run, state)
    kept = parts.read(state.file(PROGRESS))
    run.lr_scheduler.load_state_dict(kept["schedule"])
    if kept["scaler"] is not None and run.accelerator.scaler is not None:
        run.accelerator.scaler.load_state_dict(kept["scaler"])
    streams = kept["random"]
    # With other processes than the state was made with (allowed by name only) some share a stream.
    return streams[run.accelerator.process_index % len(streams)]


def restore_weights(model: torch.nn.Module, saved: Iterable[tuple[str, torch.Tensor]], what: str) -> None:
    """Copy weights in place. UserError for other names, shapes or dtypes; the model is of no use then."""
    own = model.state_dict()
    with torch.no_grad():
        for name, other in saved:
            tensor = own.pop(name, None)
            if tensor is None:
                raise UserError(f"{what}: the model has no {name}; the state is of another base model")
            if other.shape != tensor.shape or other.dtype != tensor.dtype:
                raise UserError(
                    f"{what}: {name} is {other.dtype} {tuple(other.shape)} there and {tensor.dtype} "
                    f"{tuple(tensor.shape)} here; resume with the base model and precision of the state"
                )
            tensor.copy_(other)
    if own:
        raise UserError(f"{what}: the state has no {next(iter(own))}; it is of another base model")


def restore_optimizer(run, state: State) -> None:
    """Load the optimizer's state. UserError for one of another optimizer or of other groups."""
    try:
        if divided(run):
            restore_share(run, parts.read(state.file(optimizer_file(run)), run.accelerator.device))
        else:
            run.optimizer.load_state_dict(optimizer_shares.read(run, state))
    except (KeyError, ValueError) as error:
        raise UserError(f"{state.path}: its optimizer does not fit this run ({error}); take its launcher") from None


def restore_share(run, saved: dict) -> None:
    """ZeRO: this process's share, through DeepSpeed's own loading."""
    zero = run.optimizer.optimizer
    vars(zero.loss_scaler).update(saved["scaler"])
    whole = zero.state_dict()
    whole |= {
        "base_optimizer_state": saved["base"],
        "single_partition_of_fp32_groups": saved["fp32"],
        "overflow": saved["overflow"],
    }
    shares = [None] * run.accelerator.num_processes
    shares[run.accelerator.process_index] = whole
    zero.load_state_dict(shares, load_optimizer_states=True, load_from_fp32_weights=True)
