"""Settles what a run's flags mean, in one frozen, typed object, from words or from a trainer's parsed flags.

Launcher, planner, logbook, plugins and trainers ask it; nobody else reads a rate, a share or a precision out of
strings. What a single flag, or flags about one thing, must not say is refused when the object is made.
"""

import argparse
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import values
from extensions.flags.literals import literals
from extensions.flags.words import Flags
from extensions.model import recomputation
from extensions.model.diffusion import TIMESTEPS
from extensions.model.prediction import EPSILON, V
from extensions.optimizers import facts as optimizer_facts

UNET = "U-Net"
A1111, PLAIN, UPSTREAM = TOKEN_RULES = ("a1111", "plain", "upstream")
TOKEN_LENGTHS = (75, 150, 225)
CHUNKS = 3  # of 75 tokens: captions with tags are often over 225 tokens
NEAREST = "nearest"  # how bf16 weights are rounded where nothing else is said
KAHAN = "kahan"
LEARNING_RATE, MAX_STEPS, ZERO_STAGE = "2e-6", "1600", "2"  # upstream's defaults
# Flags that leave DDP as it is: DeepSpeed is another engine, and a static graph wants the first pass for itself.
AS_UPSTREAM = "ddp_gradients_as_upstream"
AS_UPSTREAM_HELP = "several processes keep gradients twice under accumulation, as upstream does"
OTHER_GRADIENTS = (AS_UPSTREAM, "deepspeed", "ddp_static_graph")
PRECISIONS = (("full_bf16", "bf16"), ("full_fp16", "fp16"))


@dataclass(frozen=True)
class Settings:
    """A run's settings.

    family: "sdxl" or "sd2". plugins: those that are listed, in order. rates: {model: learning rate} of those that
    train, by upstream's rules. encoders_train: --train_text_encoder. unet_percent: % of the U-Net's parameters that
    train; unet_train, unet_freeze: regexes of their names. optimizer: --optimizer_type under its present name.
    mixed_precision: "no", "fp16" or "bf16"; full_precision: "fp16" or "bf16" where weights and gradients are kept in
    it, else "". rounding: of --bf16_updates, NEAREST where nothing is said. recompute: one of `recomputation.WAYS`,
    or GB of activations to keep; its UPSTREAM, the trainer's own --gradient_checkpointing, where nothing is said.
    prediction: what the U-Net learns to predict, of `model.prediction`: EPSILON, V or FLOW. zero_snr: its schedule
    ends at SNR 0. flow_shift: of FLOW's samples, a number or "resolution". token_rule: one of TOKEN_RULES;
    token_length: tokens, of upstream's rule; max_chunks: of 75 tokens a text, 0: as many as needed. batch_size:
    images a micro-step and process. accumulation: micro-steps an optimizer step. epochs: None where steps say the
    length. max_steps, start_step, stop_step: optimizer steps. zero_stage: None without DeepSpeed. gradients_once:
    several processes keep no second copy in DDP's buckets (`optimizers/gradients.py`); without plugins they are
    upstream's.
    """

    family: str
    plugins: tuple[str, ...]
    rates: Mapping[str, float]
    encoders_train: bool
    unet_percent: float
    unet_train: re.Pattern | None
    unet_freeze: re.Pattern | None
    optimizer: str
    optimizer_args: Mapping[str, Any]
    mixed_precision: str
    full_precision: str
    rounding: str
    recompute: str | float
    prediction: str
    zero_snr: bool
    flow_shift: float | str
    token_rule: str
    token_length: int
    max_chunks: int
    batch_size: int
    accumulation: int
    epochs: int | None
    max_steps: int
    start_step: int
    stop_step: int | None
    zero_stage: int | None
    gradients_once: bool

    def end(self, steps_per_epoch: int | None = None) -> int | None:
        """Return the optimizer step at which the run ends; None where only its data say. Epochs beat steps."""
        whole = None if self.epochs else self.max_steps
        if self.epochs and steps_per_epoch:
            whole = self.epochs * steps_per_epoch
        return min((step for step in (whole, self.stop_step) if step is not None), default=None)

    @property
    def remainder_bytes(self) -> int:
        """Bytes an element that --bf16_updates keeps of what it cut off, in the optimizer's state."""
        return 2 if self.rounding == KAHAN else 0

    @property
    def tokens(self) -> int:
        """Tokens a text that the U-Net attends to, of the longest texts that are usual.

        The plugin's chunks keep their BOS and EOS; a trainer's own cut leaves one of each, whatever its length.
        """
        if self.token_rule == UPSTREAM:
            return self.token_length + 2
        return 77 * (self.max_chunks or CHUNKS)

    @property
    def optimizer_class(self) -> str:
        """The optimizer's class in lower case, without its module."""
        return self.optimizer.rpartition(".")[2].lower()


def of_words(flags: Flags) -> Settings:
    """Return the settings of a launcher's flags. UserError for the first that makes no sense."""
    return _made(_Given(flags.get, flags.values))


def of_args(args: argparse.Namespace) -> Settings:
    """Return the settings of a trainer's parsed flags. UserError for the first that makes no sense."""
    parsed = vars(args)

    def text(name: str) -> str | None:
        value = parsed.get(name)
        if value is None or value is False:
            return None
        if isinstance(value, list):
            return " ".join(map(str, value))
        if isinstance(value, re.Pattern):
            return value.pattern
        return "" if value is True else str(value)

    return _made(_Given(text, parsed))


def timestep_range(args: argparse.Namespace) -> tuple[int, int]:
    """Return (first, end) of the timesteps that are drawn from; equal: that one alone."""
    return args.min_timestep or 0, TIMESTEPS if args.max_timestep is None else args.max_timestep


class _Given:
    """Flags by name, in whichever form. text: a flag's value, "" for a switch that is set, None where it is not."""

    def __init__(self, text: Callable[[str], str | None], raw: Mapping[str, Any]):
        self.text, self.raw = text, raw
        self.plugins = tuple(manager.listed(text("extensions")))
        self.declared = {flag.name: flag for flag in manager.flags_of(self.plugins)}

    def has(self, name: str) -> bool:
        return self.text(name) is not None

    def number(self, name: str, least: int, default: str) -> int:
        return values.parsed(f"--{name}", self.text(name) or default, values.whole(least))

    def real(self, name: str, default: str) -> float:
        given = self.text(name)
        return values.parsed(f"--{name}", default if given is None else given, values.real)

    def of_plugin(self, name: str, otherwise):
        """Return the value of a plugin's flag; `otherwise` where it is not given and no listed plugin has it."""
        if name not in self.declared and self.has(name):  # the trainer will refuse it; a plan can be made
            known = manager.flags_of(manager.available())
            return next(flag for flag in known if flag.name == name).value_of(self.text(name))
        return self.declared[name].value_of(self.text(name)) if name in self.declared else otherwise


def _made(given: _Given) -> Settings:
    full = _full_precision(given)
    percent = given.of_plugin("unet_percent", None)
    return Settings(
        family="sd2" if given.has("v2") else "sdxl",
        plugins=given.plugins,
        rates=MappingProxyType(_rates(given)),
        encoders_train=given.has("train_text_encoder"),
        unet_percent=100.0 if percent is None else percent,
        unet_train=given.of_plugin("unet_train", None),
        unet_freeze=given.of_plugin("unet_freeze", None),
        optimizer=_optimizer(given),
        optimizer_args=MappingProxyType(literals("optimizer_args", given.raw.get("optimizer_args"))),
        mixed_precision=given.text("mixed_precision") or "no",
        full_precision=full,
        rounding=given.of_plugin("bf16_updates", None) or NEAREST,
        recompute=given.of_plugin("recompute", recomputation.UPSTREAM),
        prediction=given.of_plugin("objective", None) or (V if given.has("v_parameterization") else EPSILON),
        zero_snr=given.has("zero_terminal_snr"),
        flow_shift=given.of_plugin("flow_shift", None) or given.of_plugin("timestep_shift", None) or 1.0,
        **_tokens(given),
        **_counts(given),
        zero_stage=given.number("zero_stage", 0, ZERO_STAGE) if given.has("deepspeed") else None,
        gradients_once=bool(given.plugins) and not any(given.has(name) for name in OTHER_GRADIENTS),
    )


def _rates(given: _Given) -> dict[str, float]:
    """Upstream's rules. SDXL: a rate of 0 means that the model does not train. SD2: the U-Net always does."""
    sdxl = not given.has("v2")
    unet = given.real("learning_rate", LEARNING_RATE)
    rates = {UNET: unet}
    if given.has("train_text_encoder"):
        own = ("learning_rate_te1", "learning_rate_te2") if sdxl else ("learning_rate_te",)
        rates |= {f"text encoder {n}": given.real(name, str(unet)) for n, name in enumerate(own, start=1)}
    if sdxl:
        rates = {name: rate for name, rate in rates.items() if rate}
    if not rates:
        raise UserError("nothing to train: every learning rate is 0; give --learning_rate or --train_text_encoder")
    return rates


def _full_precision(given: _Given) -> str:
    """fine_tune.py does not look at --full_bf16 at all, and sdxl_train.py late."""
    for name, needed in PRECISIONS:
        if given.has(name):
            if given.text("mixed_precision") != needed:
                raise UserError(f"--{name} needs --mixed_precision={needed}; add it or drop --{name}")
            return needed
    return ""


def _optimizer(given: _Given) -> str:
    """Upstream has two older flags for it."""
    if given.has("use_8bit_adam"):
        return "AdamW8bit"
    if given.has("use_lion_optimizer"):
        return "Lion"
    return optimizer_facts.present_name(given.text("optimizer_type") or "AdamW")


def _tokens(given: _Given) -> dict[str, Any]:
    length = given.number("max_token_length", 1, str(TOKEN_LENGTHS[0]))
    if given.has("max_token_length") and length not in TOKEN_LENGTHS[1:]:
        raise UserError(f"--max_token_length={length}: give 150 or 225, or drop it for 75 tokens")
    return {
        "token_rule": given.of_plugin("token_chunks", UPSTREAM),
        "token_length": length,
        "max_chunks": given.of_plugin("max_token_chunks", 0),
    }


def _counts(given: _Given) -> dict[str, Any]:
    start = given.of_plugin("initial_step", None) or 0
    stop = given.of_plugin("stop_at_step", None)
    if stop is not None and stop <= start:
        raise UserError(f"--stop_at_step={stop} is not after optimizer step {start}, where the run starts")
    return {
        "batch_size": given.number("train_batch_size", 1, "1"),
        "accumulation": given.number("gradient_accumulation_steps", 1, "1"),
        "epochs": given.number("max_train_epochs", 1, "1") if given.has("max_train_epochs") else None,
        "max_steps": given.number("max_train_steps", 1, MAX_STEPS),
        "start_step": start,
        "stop_step": stop,
    }
