"""Says of each of the trainers' flags what it takes: nothing, a text, a number within bounds, a list of words.

Upstream's parser knows a number from a text and no more: 1e400 is infinity to it, 1e-400 zero, a seed of -1 a crash
once the models are loaded. Flags of plugins declare the same (`declared.py`).
"""

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import values
from extensions.flags.values import at_least, probability, real, whole

SWITCHES = frozenset((
    "alpha_mask", "async_upload", "bucket_no_upscale", "cache_info", "cache_latents", "cache_latents_to_disk",
    "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk", "color_aug", "console_log_simple",
    "ddp_gradient_as_bucket_view", "ddp_static_graph", "debiased_estimation_loss", "debug_dataset", "deepspeed",
    "diffusers_xformers", "disable_mmap_load_safetensors", "enable_bucket", "enable_wildcard", "flip_aug",
    "fp16_master_weights_and_gradients", "fp8_base", "full_bf16", "full_fp16", "fused_backward_pass",
    "gradient_checkpointing", "highvram", "ip_noise_gamma_random_strength", "log_config", "lowram", "masked_loss",
    "mem_eff_attn", "no_half_vae", "noise_offset_random_strength", "output_config",
    "persistent_data_loader_workers", "random_crop", "resume_from_huggingface", "sample_at_first", "save_state",
    "save_state_on_train_end", "save_state_to_huggingface", "scale_v_pred_loss_like_noise_pred", "sdpa",
    "shuffle_caption", "skip_cache_check", "torch_compile", "train_text_encoder", "use_8bit_adam",
    "use_lion_optimizer", "use_safetensors", "v2", "v_parameterization", "weighted_captions", "xformers",
    "zero3_init_flag", "zero3_save_16bit_model", "zero_terminal_snr",
))  # fmt: skip
TEXTS = frozenset((
    "block_lr", "caption_extension", "caption_extention", "conditioning_data_dir", "config_file",
    "console_log_file", "console_log_level", "dataset_class", "dataset_config", "dynamo_backend",
    "face_crop_aug_range", "huber_schedule", "huggingface_path_in_repo", "huggingface_repo_id",
    "huggingface_repo_type", "huggingface_repo_visibility", "huggingface_token", "in_json", "log_tracker_config",
    "log_tracker_name", "log_with", "logging_dir", "loss_type", "lr_scheduler", "lr_scheduler_type",
    "metadata_author", "metadata_description", "metadata_is_negative_embedding", "metadata_license",
    "metadata_merged_from", "metadata_preprocessor", "metadata_tags", "metadata_thumbnail", "metadata_title",
    "metadata_trigger_phrase", "metadata_usage_hint", "mixed_precision", "offload_optimizer_device",
    "offload_optimizer_nvme_path", "offload_param_device", "offload_param_nvme_path", "optimizer_type",
    "output_dir", "output_name", "pretrained_model_name_or_path", "reg_data_dir", "resize_interpolation",
    "resolution", "resume", "sample_prompts", "sample_sampler", "save_model_as", "save_precision",
    "tokenizer_cache_dir", "train_data_dir", "vae", "wandb_api_key", "wandb_run_name",
))  # fmt: skip
MAY_BE_EMPTY = frozenset((
    "caption_prefix", "caption_separator", "caption_suffix", "keep_tokens_separator", "log_prefix",
    "secondary_separator",
))  # fmt: skip
LISTS = frozenset(("optimizer_args", "lr_scheduler_args"))
SEEDS = 2**32 - 1  # numpy's
TIMESTEPS = 1000  # which of them a schedule has is said where they are drawn

NUMBERS: Mapping[str, Callable[[str], Any]] = {
    **dict.fromkeys(("learning_rate", "learning_rate_te", "learning_rate_te1", "learning_rate_te2"), at_least(0)),
    **dict.fromkeys(("max_train_epochs", "max_train_steps", "gradient_accumulation_steps"), whole(1)),
    **dict.fromkeys(("save_every_n_epochs", "save_every_n_steps", "save_n_epoch_ratio"), whole(1)),
    **dict.fromkeys(("save_last_n_epochs", "save_last_n_epochs_state"), whole(0)),
    **dict.fromkeys(("save_last_n_steps", "save_last_n_steps_state"), whole(0)),
    **dict.fromkeys(("sample_every_n_epochs", "sample_every_n_steps"), whole(0)),
    **dict.fromkeys(("lr_warmup_steps", "lr_decay_steps", "lr_scheduler_min_lr_ratio"), at_least(0)),
    **dict.fromkeys(("caption_dropout_rate", "caption_tag_dropout_rate"), probability),
    **dict.fromkeys(("adaptive_noise_scale", "noise_offset", "multires_noise_discount", "lr_scheduler_power"), real),
    **dict.fromkeys(("huber_c", "huber_scale", "ip_noise_gamma", "v_pred_like_loss"), at_least(0)),
    **dict.fromkeys(("max_grad_norm", "min_snr_gamma", "token_warmup_step"), at_least(0)),
    **dict.fromkeys(("min_timestep", "max_timestep"), whole(-TIMESTEPS, 2 * TIMESTEPS)),
    **dict.fromkeys(("bucket_reso_steps", "min_bucket_reso", "max_bucket_reso"), whole(1)),
    **dict.fromkeys(("train_batch_size", "vae_batch_size", "dataset_repeats", "clip_skip"), whole(1)),
    **dict.fromkeys(("keep_tokens", "token_warmup_min", "multires_noise_iterations"), whole(0)),
    **dict.fromkeys(("caption_dropout_every_n_epochs", "fused_optimizer_groups"), whole(0)),
    **dict.fromkeys(("lr_scheduler_num_cycles", "lr_scheduler_timescale"), whole(0)),
    "max_data_loader_n_workers": whole(0, 1024),
    "max_token_length": whole(1),
    "ddp_timeout": whole(1),  # minutes
    "seed": whole(0, SEEDS),
    "zero_stage": whole(0, 9),  # which of them can be had is said elsewhere
}


def check(flags: Mapping[str, list[str]]) -> None:
    """Raise UserError for the first flag that is not given as it is to be.

    A flag that is not known here is the trainer's to refuse, or of a plugin from outside that is not listed.
    """
    listed = manager.listed(" ".join(flags.get("extensions", [])))
    declared = {flag.name: flag for flag in manager.flags_of({*manager.available(), *listed})}
    for name, words in flags.items():
        if not name:
            raise UserError(f"--{'=' * bool(words)}{' '.join(words)} names no flag; flags are --name=value")
        flag = declared.get(name)
        if name in SWITCHES or (flag and flag.kind is bool):
            if words:
                raise UserError(f"--{name}={' '.join(words)}: it takes no value; give --{name} alone, or take it out")
        elif flag or name in NUMBERS or name in TEXTS or name in MAY_BE_EMPTY or name == "extensions":
            of_one(name, words)
            if flag:
                flag.value_of(words[0])
    named_files(flags)


def of_one(name: str, words: list[str]) -> None:
    """Check a flag that takes one value."""
    if not words or not (words[0] or name in MAY_BE_EMPTY or name == "extensions"):
        raise UserError(f"--{name} has no value; give --{name}=<value>, or take it out")
    if len(words) > 1:
        raise UserError(f"--{name} takes one value, not {len(words)}: {' '.join(words)}; put quotes around it")
    if name in NUMBERS:
        values.parsed(f"--{name}", words[0], NUMBERS[name])


def named_files(flags: Mapping[str, list[str]]) -> None:
    """Check a name that must be no path, and a configuration file that must be there."""
    values.parsed("--output_name", flags["output_name"][0], values.file_name) if "output_name" in flags else None
    if "config_file" in flags and "output_config" not in flags:
        path = Path(flags["config_file"][0])
        if not config_file(path).is_file():
            raise UserError(f"--config_file={path}: there is no file {config_file(path)}; give one, or take it out")


def config_file(path: Path) -> Path:
    """Return the file that --config_file means: upstream adds the suffix."""
    return path if path.name.endswith(".toml") else path.with_name(f"{path.name}.toml")


def check_parsed(args: argparse.Namespace) -> None:
    """Do the same for what a trainer has parsed: a configuration file may say anything."""
    for name, value in vars(args).items():
        if value is None:
            continue
        if name in SWITCHES and not isinstance(value, bool):
            raise UserError(f"--{name}={value}: it is on or off; write {name} = true or {name} = false")
        if name in NUMBERS:
            values.parsed(f"--{name}", str(value), NUMBERS[name])
    if getattr(args, "output_name", None):
        values.parsed("--output_name", str(args.output_name), values.file_name)
