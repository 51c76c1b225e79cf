"""Tabulates every upstream function that we wrap from outside.

Together with `patches/` this is everything we change in upstream (`make diff-upstream` shows both). A
seam is checked when it is installed: the function must still exist and still take the arguments that
we read. What a seam calls when no plugin answers is upstream's own function, untouched.
"""

import functools
import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from extensions.base.errors import UserError
from extensions.upstream import noising, states, weights, wrappers


@dataclass(frozen=True)
class Seam:
    """One wrapped function. `takes`: the parameters that our wrapper relies on, by name."""

    module: str
    name: str
    wrapper: Callable[..., Any]
    takes: tuple[str, ...]
    reason: str

    def target(self):
        """Return (owner, attribute name, current function). UserError if upstream no longer has it."""
        owner = importlib.import_module(self.module)
        *path, last = self.name.split(".")
        try:
            for part in path:
                owner = getattr(owner, part)
            return owner, last, getattr(owner, last)
        except AttributeError:
            raise UserError(f"sd-scripts has no {self.module}.{self.name} any more; see {__name__}") from None

    def install(self) -> None:
        """Put the wrapper around upstream's function, once."""
        owner, last, function = self.target()
        if getattr(function, "seam", None) is not None:
            return
        self.check(function)
        wrapped = functools.wraps(function)(functools.partial(self.wrapper, function))
        setattr(owner, last, as_method(wrapped, self) if "." in self.name else tagged(wrapped, self))

    def check(self, function) -> None:
        """Raise UserError when upstream's function no longer takes what the wrapper reads."""
        missing = [name for name in self.takes if name not in inspect.signature(function).parameters]
        if missing:
            raise UserError(f"sd-scripts' {self.module}.{self.name} takes no {missing[0]} any more; see {__name__}")


def as_method(function, seam: Seam):
    """Return a plain function, so that Python binds `self` (a partial in a class is not bound)."""

    def method(self, *arguments, **keywords):
        return function(self, *arguments, **keywords)

    return tagged(functools.wraps(function)(method), seam)


def tagged(function, seam: Seam):
    """Mark a wrapper, so that it is not wrapped twice."""
    function.seam = seam
    return function


SEAMS = (
    Seam(
        "library.sdxl_model_util",
        "load_models_from_sdxl_checkpoint",
        wrappers.load_sdxl,
        ("model_version", "ckpt_path", "map_location", "dtype"),
        "the size of the model comes from the checkpoint; plugins are shown the models",
    ),
    Seam(
        "library.model_util",
        "load_models_from_stable_diffusion_checkpoint",
        wrappers.load_sd2,
        ("v2", "ckpt_path"),
        "the same for SD2",
    ),
    Seam(
        "library.sdxl_train_util",
        "_load_target_model",
        weights.load_target,
        ("name_or_path",),
        "a link to the base model is read where the trainer runs, and what is no file is looked for in a hub",
    ),
    Seam(
        "library.model_util",
        "is_safetensors",
        weights.is_safetensors,
        ("path",),
        "a file's content says whether it is a pickle, which can run any code; upstream goes by its name",
    ),
    Seam(
        "library.model_util",
        "load_vae",
        wrappers.load_vae,
        ("vae_id", "dtype"),
        "--vae takes pickles, too, and builds the full size alone",
    ),
    Seam(
        "library.train_util",
        "prepare_accelerator",
        wrappers.prepare_accelerator,
        ("args",),
        "several processes keep gradients once; how DDP is made is said to accelerate alone, before it wraps a model",
    ),
    Seam(
        "library.train_util",
        "get_optimizer",
        wrappers.get_optimizer,
        ("args", "trainable_params"),
        "runs after upstream's requires_grad_ and before prepare: the one place where a freeze lasts, and a cast "
        "to bf16 (fine_tune.py parses --full_bf16 and ignores it)",
    ),
    Seam(
        "library.strategy_base",
        "TokenizeStrategy._load_tokenizer",
        wrappers.load_tokenizer,
        ("self",),
        "a tokenizer takes `<|endoftext|>` in a caption for the real one, and remembers every word that it has met: "
        "gigabytes in workers that live for weeks",
    ),
    Seam(
        "library.strategy_sdxl",
        "SdxlTokenizeStrategy.tokenize",
        wrappers.tokenize_sdxl,
        ("self", "text"),
        "plugins cut texts into chunks",
    ),
    Seam(
        "library.strategy_sdxl",
        "SdxlTextEncodingStrategy.encode_tokens",
        wrappers.encode_sdxl,
        ("self", "tokenize_strategy", "models", "tokens"),
        "plugins join the hidden states of the chunks",
    ),
    Seam(
        "library.strategy_sd",
        "SdTokenizeStrategy.tokenize",
        wrappers.tokenize_sd2,
        ("self", "text"),
        "the same for SD2",
    ),
    Seam(
        "library.strategy_sd",
        "SdTextEncodingStrategy.encode_tokens",
        wrappers.encode_sd2,
        ("self", "tokenize_strategy", "models", "tokens"),
        "the same for SD2",
    ),
    Seam(
        "library.train_util",
        "get_noise_noisy_latents_and_timesteps",
        noising.draw_noise,
        ("args", "noise_scheduler", "latents"),
        "plugins add the noise, say what is to be predicted, and are told at which timestep a loss arose; and each "
        "draw would wait until the schedule's alphas are back from the GPU",
    ),
    Seam(
        "library.train_util",
        "get_timesteps",
        noising.draw_timesteps,
        ("min_timestep", "max_timestep", "b_size", "device"),
        "plugins draw timesteps; upstream's draw is the same on every process",
    ),
    Seam(
        "diffusers",
        "DDPMScheduler.get_velocity",
        noising.velocity,
        ("self", "sample", "noise", "timesteps"),
        "with --v_parameterization what a plugin wants predicted would be turned into a v",
    ),
    Seam(
        "library.train_util",
        "conditional_loss",
        noising.loss,
        ("model_pred", "target", "loss_type", "reduction", "huber_c"),
        "plugins weigh the loss of each sample",
    ),
    Seam(
        "library.train_util",
        "LossRecorder.__init__",
        wrappers.begin_losses,
        ("self",),
        "every loss of an epoch is kept as a Python object: 100 MB a process at 12.4 million images",
    ),
    Seam(
        "library.deepspeed_utils",
        "prepare_deepspeed_args",
        wrappers.prepare_deepspeed_args,
        ("args",),
        "upstream cuts the data loader to one worker under DeepSpeed, for a crash of other data sets",
    ),
    Seam(
        "library.deepspeed_utils",
        "prepare_deepspeed_plugin",
        wrappers.prepare_deepspeed_plugin,
        ("args",),
        "--max_grad_norm=0 clips at 1.0 under DeepSpeed, where accelerate takes 0 for nothing said",
    ),
    *(
        Seam(
            "library.train_util",
            name,
            states.save,
            ("args", "accelerator"),
            "upstream saves a state on process 0 alone, where DeepSpeed waits for the others for ever",
        )
        for name in (
            "save_and_remove_state_stepwise",
            "save_and_remove_state_on_epoch_end",
            "save_state_on_train_end",
        )
    ),
    Seam(
        "library.sdxl_model_util",
        "save_stable_diffusion_checkpoint",
        wrappers.save_checkpoint,
        ("output_file", "steps", "metadata"),
        "a checkpoint appears under its name only when it is whole, and carries the run's identity",
    ),
    Seam(
        "library.model_util",
        "save_stable_diffusion_checkpoint",
        wrappers.save_checkpoint,
        ("output_file", "steps", "metadata"),
        "the same for SD2",
    ),
)


def install() -> None:
    """Install every seam. UserError names the first that upstream no longer offers."""
    for seam in SEAMS:
        seam.install()
