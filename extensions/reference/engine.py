"""Sets up accelerate and DeepSpeed from the run's flags."""

import time
from datetime import timedelta

import torch
from accelerate import Accelerator, DeepSpeedPlugin
from accelerate.utils import InitProcessGroupKwargs

from extensions.base.processes import started

DTYPES = {"no": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


def accelerator(args) -> Accelerator:
    """Return the accelerator of this process. torchrun's or accelerate's environment says how many there are."""
    folder, waiting = None, []
    if args.ddp_timeout:
        waiting = [InitProcessGroupKwargs(timeout=timedelta(minutes=args.ddp_timeout))]
    if args.logging_dir:
        folder = f"{args.logging_dir}/{args.log_prefix or ''}{time.strftime('%Y%m%d%H%M%S')}"
    return Accelerator(
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        mixed_precision=args.mixed_precision,
        log_with=args.log_with or ("tensorboard" if folder else None),
        project_dir=folder,
        deepspeed_plugin=deepspeed_plugin(args) if args.deepspeed else None,
        kwargs_handlers=waiting,
    )


def deepspeed_plugin(args) -> DeepSpeedPlugin:
    """ZeRO of the stage that the launcher asks for.

    Batch sizes are told: DeepSpeed would read them off a loader whose batch size is 1.
    """
    plugin = DeepSpeedPlugin(
        zero_stage=args.zero_stage,
        gradient_accumulation_steps=args.gradient_accumulation_steps,
        gradient_clipping=args.max_grad_norm,
    )
    plugin.deepspeed_config["train_micro_batch_size_per_gpu"] = args.train_batch_size
    plugin.deepspeed_config["train_batch_size"] = args.train_batch_size * args.gradient_accumulation_steps * started()
    # accelerate leaves out a clipping of 0, and then fills in 1.0.
    plugin.deepspeed_config["gradient_clipping"] = args.max_grad_norm
    plugin.set_mixed_precision(args.mixed_precision)
    if args.mixed_precision == "fp16":
        plugin.deepspeed_config["fp16"]["initial_scale_power"] = 0  # a first scale of 65536 overflows at once
    return plugin


class Together(torch.nn.Module):
    """Several models as one, because DeepSpeed prepares one; each is still called by itself."""

    def __init__(self, models: list[torch.nn.Module], device: torch.device, mixed: bool):
        super().__init__()
        self.models = torch.nn.ModuleList(models)
        for model in models if mixed else ():
            # DeepSpeed's engine would enter autocast in its own forward, which is never called.
            model.forward = torch.autocast(device.type)(model.forward)


def prepare(args, made: Accelerator, trained: dict, others: tuple) -> tuple[dict, list, tuple]:
    """Wrap what trains (DDP, DeepSpeed) and the optimizer, loader and schedule in `others`.

    trained: {name: model}. Returns the models to call by name, the list to accumulate and clip over, and
    the prepared others.
    """
    if args.deepspeed:
        one = Together(list(trained.values()), made.device, args.mixed_precision != "no")
        engine, *rest = made.prepare(one, *others)
        return trained, [engine], tuple(rest)
    wrapped = {name: made.prepare(model) for name, model in trained.items()}
    return wrapped, list(wrapped.values()), tuple(made.prepare(*others))


def attention(args, unet) -> None:
    """xformers where it is asked for; diffusers' default is PyTorch's own attention."""
    if args.xformers:
        unet.enable_xformers_memory_efficient_attention()
