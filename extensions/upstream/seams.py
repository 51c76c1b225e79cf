"""Tabulates every upstream function that we wrap from outside.

Together with `patches/` this is everything we change in upstream (`make diff-upstream` shows both). A
seam is checked when it is installed: the function must still exist and still take the arguments that
we read. What a seam calls when no plugin answers is upstream's own function, untouched. `fires` says
when it must have been called: a run in which it was not says so, or ends (`silent.py`).
"""

from extensions.upstream import noising, states, weights, wrappers
from extensions.upstream.seam import END, EPOCH_SAVE, SAVE, START, STEP_SAVE, UPDATE, Fires, Seam


def with_vae(args) -> bool:
    """The autoencoder comes from another file."""
    return bool(getattr(args, "vae", None))


def with_texts(args) -> bool:
    """Texts are encoded as the run goes, and upstream does not weight their parts."""
    others = ("weighted_captions", "cache_text_encoder_outputs", "text_outputs")
    return not any(getattr(args, name, None) for name in others)


def with_v(args) -> bool:
    """The trainer's own target is v."""
    return bool(getattr(args, "v_parameterization", False))


def with_deepspeed(args) -> bool:
    """Accelerate is to start DeepSpeed."""
    return bool(getattr(args, "deepspeed", False))


def with_states(args) -> bool:
    """States are saved by upstream as the run goes."""
    return bool(getattr(args, "save_state", False))


def with_last_state(args) -> bool:
    """A state is saved by upstream at the end."""
    return with_states(args) or bool(getattr(args, "save_state_on_train_end", False))


# Upstream's functions that save a state, and when.
STATES = {
    "save_and_remove_state_stepwise": Fires(STEP_SAVE, asked=with_states),
    "save_and_remove_state_on_epoch_end": Fires(EPOCH_SAVE, asked=with_states),
    "save_state_on_train_end": Fires(END, asked=with_last_state),
}

SEAMS = (
    Seam(
        "library.sdxl_model_util",
        "load_models_from_sdxl_checkpoint",
        wrappers.load_sdxl,
        ("model_version", "ckpt_path", "map_location", "dtype"),
        "the size of the model comes from the checkpoint; plugins are shown the models",
        Fires(START, "sdxl", differs=True),
    ),
    Seam(
        "library.model_util",
        "load_models_from_stable_diffusion_checkpoint",
        wrappers.load_sd2,
        ("v2", "ckpt_path"),
        "the same for SD2",
        Fires(START, "sd2", differs=True),
    ),
    Seam(
        "library.sdxl_train_util",
        "_load_target_model",
        weights.load_target,
        ("name_or_path",),
        "a link to the base model is read where the trainer runs, and what is no file is looked for in a hub",
        Fires(START, "sdxl"),
    ),
    Seam(
        "library.model_util",
        "is_safetensors",
        weights.is_safetensors,
        ("path",),
        "a file's content says whether it is a pickle, which can run any code; upstream goes by its name",
        Fires(START),
    ),
    Seam(
        "library.model_util",
        "load_vae",
        wrappers.load_vae,
        ("vae_id", "dtype"),
        "--vae takes pickles, too, and builds the full size alone",
        Fires(START, asked=with_vae),
    ),
    Seam(
        "library.train_util",
        "prepare_accelerator",
        wrappers.prepare_accelerator,
        ("args",),
        "several processes keep gradients once; how DDP is made is said to accelerate alone, before it wraps a model",
        Fires(START),
    ),
    Seam(
        "library.train_util",
        "get_optimizer",
        wrappers.get_optimizer,
        ("args", "trainable_params"),
        "runs after upstream's requires_grad_ and before prepare: the one place where a freeze lasts, and a cast "
        "to bf16 (fine_tune.py parses --full_bf16 and ignores it)",
        Fires(START, differs=True),
    ),
    Seam(
        "library.strategy_base",
        "TokenizeStrategy._load_tokenizer",
        wrappers.load_tokenizer,
        ("self",),
        "a tokenizer takes `<|endoftext|>` in a caption for the real one, and remembers every word that it has met: "
        "gigabytes in workers that live for weeks",
        Fires(START, differs=True),
    ),
    Seam(
        "library.strategy_sdxl",
        "SdxlTokenizeStrategy.tokenize",
        wrappers.tokenize_sdxl,
        ("self", "text"),
        "plugins cut texts into chunks",
        Fires(UPDATE, "sdxl", with_texts, differs=True, hook="tokenize"),
    ),
    Seam(
        "library.strategy_sdxl",
        "SdxlTextEncodingStrategy.encode_tokens",
        wrappers.encode_sdxl,
        ("self", "tokenize_strategy", "models", "tokens"),
        "plugins join the hidden states of the chunks",
        Fires(UPDATE, "sdxl", with_texts, differs=True, hook="encode_tokens"),
    ),
    Seam(
        "library.strategy_sd",
        "SdTokenizeStrategy.tokenize",
        wrappers.tokenize_sd2,
        ("self", "text"),
        "the same for SD2",
        Fires(UPDATE, "sd2", with_texts, differs=True, hook="tokenize"),
    ),
    Seam(
        "library.strategy_sd",
        "SdTextEncodingStrategy.encode_tokens",
        wrappers.encode_sd2,
        ("self", "tokenize_strategy", "models", "tokens"),
        "the same for SD2",
        Fires(UPDATE, "sd2", with_texts, differs=True, hook="encode_tokens"),
    ),
    Seam(
        "library.train_util",
        "get_noise_noisy_latents_and_timesteps",
        noising.draw_noise,
        ("args", "noise_scheduler", "latents"),
        "plugins add the noise, say what is to be predicted, and are told at which timestep a loss arose; and each "
        "draw would wait until the schedule's alphas are back from the GPU",
        Fires(UPDATE, differs=True, hook="target"),
    ),
    Seam(
        "library.train_util",
        "get_timesteps",
        noising.draw_timesteps,
        ("min_timestep", "max_timestep", "b_size", "device"),
        "plugins draw timesteps; upstream's draw is the same on every process",
        Fires(UPDATE, differs=True, hook="draw_timesteps"),
    ),
    Seam(
        "diffusers",
        "DDPMScheduler.get_velocity",
        noising.velocity,
        ("self", "sample", "noise", "timesteps"),
        "with --v_parameterization what a plugin wants predicted would be turned into a v",
        Fires(UPDATE, asked=with_v, differs=True, hook="target"),
    ),
    Seam(
        "library.train_util",
        "conditional_loss",
        noising.loss,
        ("model_pred", "target", "loss_type", "reduction", "huber_c"),
        "plugins weigh the loss of each sample",
        Fires(UPDATE, differs=True, hook="weigh_loss"),
    ),
    Seam(
        "library.train_util",
        "LossRecorder.__init__",
        wrappers.begin_losses,
        ("self",),
        "every loss of an epoch is kept as a Python object: 100 MB a process at 12.4 million images",
        Fires(UPDATE),
    ),
    Seam(
        "library.deepspeed_utils",
        "prepare_deepspeed_args",
        wrappers.prepare_deepspeed_args,
        ("args",),
        "upstream cuts the data loader to one worker under DeepSpeed, for a crash of other data sets",
        Fires(START, asked=with_deepspeed),
    ),
    Seam(
        "library.deepspeed_utils",
        "prepare_deepspeed_plugin",
        wrappers.prepare_deepspeed_plugin,
        ("args",),
        "--max_grad_norm=0 clips at 1.0 under DeepSpeed, where accelerate takes 0 for nothing said",
        Fires(START, asked=with_deepspeed, differs=True),
    ),
    *(
        Seam(
            "library.train_util",
            name,
            states.save,
            ("args", "accelerator"),
            "upstream saves a state on process 0 alone, where DeepSpeed waits for the others for ever",
            fires,
        )
        for name, fires in STATES.items()
    ),
    Seam(
        "library.sdxl_model_util",
        "save_stable_diffusion_checkpoint",
        wrappers.save_checkpoint,
        ("output_file", "steps", "metadata"),
        "a checkpoint appears under its name only when it is whole, and carries the run's identity",
        Fires(SAVE, "sdxl"),
    ),
    Seam(
        "library.model_util",
        "save_stable_diffusion_checkpoint",
        wrappers.save_checkpoint,
        ("output_file", "steps", "metadata"),
        "the same for SD2",
        Fires(SAVE, "sd2"),
    ),
)


def install() -> None:
    """Install every seam, wherever upstream has the function. UserError names the first that it no longer offers."""
    for seam in SEAMS:
        seam.install()
