"""Defines the flags of the reference trainer: sd-scripts' names, defaults and meanings, for what it can do.

A test compares every row with upstream's own parser. A flag that is not here is refused by name.
"""

import argparse
import sys

from extensions.base.errors import UserError
from extensions.flags import trackers

SCRIPTS = {"sdxl_train.py": "sdxl", "fine_tune.py": "sd2"}
BOTH = tuple(SCRIPTS)
SDXL, SD2 = (("sdxl_train.py",), ("fine_tune.py",))


def count_or_share(text: str) -> int | float:
    """Return a number of steps, or a share of the run below 1, as argparse's `type`."""
    return float(text) if "." in text or "e" in text.lower() else int(text)


# name, type (bool: a switch), default, what it does, scripts that have it
TABLE = (
    ("pretrained_model_name_or_path", str, None, "base model: one .safetensors file in the original layout", BOTH),
    ("tokenizer_cache_dir", str, None, "folder of the tokenizers", BOTH),
    ("v2", bool, False, "the base model is SD2", BOTH),
    ("v_parameterization", bool, False, "the U-Net predicts v instead of the noise (arXiv 2202.00512)", BOTH),
    ("clip_skip", int, None, "SD2: which hidden state from the end, through the final layer norm", BOTH),
    ("zero_terminal_snr", bool, False, "rescale the noise schedule to end at SNR 0 (arXiv 2305.08891)", BOTH),
    ("min_snr_gamma", float, None, "weigh the loss by min(SNR, gamma) (arXiv 2303.09556)", BOTH),
    ("debiased_estimation_loss", bool, False, "weigh the loss by 1 / sqrt(SNR) (arXiv 2310.08442)", BOTH),
    ("min_timestep", int, None, "draw timesteps from here on; default: 0", BOTH),
    ("max_timestep", int, None, "draw timesteps below this, or this one where both are equal; default: 1000", BOTH),
    ("dataset_class", str, None, "dotted name of the data set's class", BOTH),
    ("in_json", str, None, "metadata of the images", BOTH),
    ("train_data_dir", str, None, "folder of the cached latents", BOTH),
    ("caption_extension", str, ".caption", "read by data sets of caption files; has no effect here", BOTH),
    ("caption_separator", str, ",", "stands between caption and tags", BOTH),
    ("enable_wildcard", bool, False, "expand {a|b} in captions (the plugin dual_tag)", BOTH),
    ("caption_dropout_rate", float, 0.0, "share of samples with an empty text (the plugin dual_tag)", BOTH),
    ("max_token_length", int, None, "150 or 225: cut texts there, in two or three chunks; default: at 75", BOTH),
    ("enable_bucket", bool, False, "batches of one resolution each; always so with cached latents", BOTH),
    ("cache_latents", bool, False, "read latents instead of images; always so here", BOTH),
    ("skip_cache_check", bool, False, "do not open every latents file before the start", BOTH),
    ("train_batch_size", int, 1, "images a micro-step and process", BOTH),
    ("max_data_loader_n_workers", int, 8, "processes that read data, at most one a core; 0: the trainer's own", BOTH),
    ("persistent_data_loader_workers", bool, False, "keep them between epochs", BOTH),
    ("optimizer_type", str, "", "AdamW (default), AdamW8bit, Lion, Lion8bit, AdaFactor, … or a dotted name", BOTH),
    ("optimizer_args", list, None, "key=value …, Python literals", BOTH),
    ("learning_rate", float, 2e-6, "of the U-Net; 0 leaves it as it is (SDXL)", BOTH),
    ("train_text_encoder", bool, False, "train the text encoders too", BOTH),
    ("learning_rate_te1", float, None, "of the first text encoder; default: --learning_rate; 0: not trained", SDXL),
    ("learning_rate_te2", float, None, "the same for the second", SDXL),
    ("learning_rate_te", float, None, "of the text encoder; default: --learning_rate", SD2),
    ("lr_scheduler", str, "constant", "a name of transformers' or diffusers' schedulers, or adafactor:<lr>", BOTH),
    ("lr_scheduler_args", list, None, "key=value …, Python literals", BOTH),
    ("lr_warmup_steps", count_or_share, 0, "warm-up in optimizer steps x processes, or a share below 1", BOTH),
    ("lr_scheduler_num_cycles", int, 1, "cycles of cosine_with_restarts", BOTH),
    ("lr_scheduler_power", float, 1, "power of polynomial", BOTH),
    ("gradient_accumulation_steps", int, 1, "micro-steps an optimizer step", BOTH),
    ("gradient_checkpointing", bool, False, "compute activations again in the backward pass, not keep them", BOTH),
    ("max_grad_norm", float, 1.0, "clip the norm of all gradients to this; 0: do not", BOTH),
    ("max_train_epochs", int, None, "length of the run in epochs; wins over --max_train_steps", BOTH),
    ("max_train_steps", int, 1600, "length of the run in optimizer steps", BOTH),
    ("seed", int, None, "of all random draws", BOTH),
    ("full_bf16", bool, False, "weights, gradients and optimizer state in bf16", BOTH),
    ("mixed_precision", ("no", "fp16", "bf16"), "no", "dtype of the products", BOTH),
    ("xformers", bool, False, "attention by xformers", BOTH),
    ("mem_eff_attn", bool, False, "the same as --sdpa here: PyTorch chooses a memory-efficient kernel", BOTH),
    ("sdpa", bool, False, "attention by PyTorch; the default here", BOTH),
    ("deepspeed", bool, False, "train under DeepSpeed", BOTH),
    ("zero_stage", int, 2, "its ZeRO stage, 0 to 2", BOTH),
    ("ddp_timeout", int, None, "minutes that a process waits for the others; default: accelerate's", BOTH),
    ("torch_compile", bool, False, "compile the models, with a plugin that does", BOTH),
    ("dynamo_backend", str, "inductor", "by this backend", BOTH),
    ("output_dir", str, None, "folder of the checkpoints", BOTH),
    ("output_name", str, None, "their name; default: epoch, at and last", BOTH),
    ("save_model_as", str, None, "safetensors", BOTH),
    ("save_precision", ("float", "fp16", "bf16"), None, "dtype of the checkpoints; default: the weights'", BOTH),
    ("save_every_n_epochs", int, None, "a checkpoint each n epochs", BOTH),
    ("save_every_n_steps", int, None, "a checkpoint each n optimizer steps", BOTH),
    ("sample_prompts", str, None, "file of prompts that a plugin draws", BOTH),
    ("sample_at_first", bool, False, "draw them before the training, too", BOTH),
    ("sample_every_n_steps", int, None, "draw them every so many optimizer steps", BOTH),
    ("sample_every_n_epochs", int, None, "draw them every so many epochs instead", BOTH),
    ("logging_dir", str, None, "folder of the trackers' logs", BOTH),
    ("log_with", ("tensorboard", "wandb", "all"), None, "the tracker; default: tensorboard", BOTH),
    ("log_prefix", str, None, "before the time stamp in the logs' folder", BOTH),
)  # fmt: skip


def parser(script: str) -> argparse.ArgumentParser:
    """Return a parser of the flags that `script` has."""
    made = argparse.ArgumentParser(prog=f"python -m extensions.reference {script}", allow_abbrev=False)
    for name, kind, default, what, scripts in TABLE:
        if script in scripts:
            made.add_argument(f"--{name}", default=default, help=what.replace("%", "%%"), **options(kind))
    return made


def options(kind) -> dict:
    """argparse's keywords for a row's type."""
    if kind is bool:
        return {"action": "store_true"}
    if kind is list:
        return {"nargs": "*"}
    return {"choices": kind} if isinstance(kind, tuple) else {"type": kind}


def parse(made: argparse.ArgumentParser, words: list[str]) -> argparse.Namespace:
    """Return the flags. UserError for one that neither this trainer nor a listed plugin has, with those it has."""
    try:
        return made.parse_args(words)
    except UserError as error:
        if not str(error).startswith("unknown flag") or "--extensions" in str(error):
            raise
        known = " ".join(sorted(option for option in made._option_string_actions if option.startswith("--")))
        raise UserError(f"{error}; TRAINER=sd-scripts has more flags, the reference trainer has: {known}") from None


def check(args: argparse.Namespace, script: str) -> None:
    """Raise UserError for what cannot work, before anything is loaded."""
    for name in ("pretrained_model_name_or_path", "output_dir"):
        if not getattr(args, name):
            raise UserError(f"--{name} is missing; give it in the launcher")
    if not args.dataset_class:
        raise UserError(
            "--dataset_class is missing; the reference trainer reads cached latents through "
            "--dataset_class=extensions.data.dataset.LatentsDataset"
        )
    if args.save_model_as not in (None, "safetensors"):
        raise UserError(f"--save_model_as={args.save_model_as}: the reference trainer writes safetensors only")
    if args.v2 != (script == "fine_tune.py"):
        raise UserError(f"{script} trains SDXL; drop --v2" if args.v2 else f"{script} trains SD2 here; add --v2")
    if args.zero_terminal_snr and not args.v_parameterization:
        # Upstream warns, too. At SNR 0 the noise is all there is to see (arXiv 2305.08891, section 3.3).
        warn("--zero_terminal_snr without --v_parameterization: the last timestep teaches nothing")
    if args.clip_skip is not None and not args.v2:
        warn("--clip_skip has no effect on SDXL, which takes the states before its encoders' last layers")
    if args.log_with in ("tensorboard", "all") and not args.logging_dir:
        raise UserError(f"--log_with={args.log_with} needs --logging_dir; give it, or drop --log_with")
    trackers.check(args.log_with)
    if args.zero_stage not in (0, 1, 2):
        raise UserError(f"--zero_stage={args.zero_stage}: the reference trainer keeps whole weights; give 0, 1 or 2")


def warn(what: str) -> None:
    """Say what works and is hardly meant."""
    print(f"warning: {what}", file=sys.stderr, flush=True)
