"""Every setting: what it is where nothing is said, what its flags make of it, and what they must not say."""

import argparse
import re
from dataclasses import FrozenInstanceError, fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.flags.settings import OTHER_GRADIENTS, Settings, of_args, of_words
from extensions.flags.words import Flags
from extensions.optimizers import facts as optimizer_facts

# As --extensions gives a flag its plugin.
UNET, TOKENS, RESUME = ("--extensions=unet_percent", "--extensions=token_chunks", "--extensions=resume_at_step")
NOTHING = {
    "family": "sdxl", "plugins": (), "rates": {"U-Net": 2e-6}, "encoders_train": False, "unet_percent": 100.0,
    "unet_train": None, "unet_freeze": None, "optimizer": "AdamW", "optimizer_args": {}, "mixed_precision": "no",
    "full_precision": "", "rounding": "nearest", "recompute": "upstream", "token_rule": "upstream",
    "token_length": 75, "max_chunks": 0, "batch_size": 1, "accumulation": 1, "epochs": None, "max_steps": 1600,
    "start_step": 0, "stop_step": None, "zero_stage": None, "gradients_once": False,
    "prediction": "epsilon", "zero_snr": False, "flow_shift": 1.0,
}  # fmt: skip
SAID = (
    ("--v2", "family", "sd2"),
    ("--extensions=dual_tag,record_run", "plugins", ("dual_tag", "record_run")),
    ("--train_text_encoder", "encoders_train", True),
    ("--train_text_encoder", "rates", {"U-Net": 2e-6, "text encoder 1": 2e-6, "text encoder 2": 2e-6}),
    (f"{UNET} --unet_percent=71", "unet_percent", 71.0),
    (f"{UNET} --unet_train=attn2", "unet_train", re.compile("attn2")),
    (f"{UNET} --unet_freeze=a|b", "unet_freeze", re.compile("a|b")),
    ("--optimizer_type=Lion8bit", "optimizer", "Lion8bit"),
    ("--use_8bit_adam", "optimizer", "AdamW8bit"),
    ("--use_lion_optimizer", "optimizer", "Lion"),
    *((f"--optimizer_type={old}", "optimizer", new) for old, new in optimizer_facts.OLD_NAMES.items()),
    ("--optimizer_args betas=.9,.99 x=None", "optimizer_args", {"betas": (0.9, 0.99), "x": None}),
    ("--mixed_precision=fp16", "mixed_precision", "fp16"),
    ("--mixed_precision=bf16", "full_precision", ""),
    ("--mixed_precision=bf16 --full_bf16", "full_precision", "bf16"),
    ("--mixed_precision=fp16 --full_fp16", "full_precision", "fp16"),
    ("--extensions=bf16_updates --bf16_updates=kahan", "rounding", "kahan"),
    ("--extensions=recompute", "recompute", "auto"),
    ("--extensions=recompute --recompute=4.5", "recompute", 4.5),
    ("--v_parameterization", "prediction", "v"),
    ("--v_parameterization --zero_terminal_snr", "zero_snr", True),
    ("--extensions=objective --objective=v", "prediction", "v"),
    ("--extensions=objective --objective=flow", "prediction", "flow"),
    ("--extensions=timestep_draws --timestep_shift=3", "flow_shift", 3.0),
    ("--extensions=objective,timestep_draws --timestep_shift=3 --flow_shift=resolution", "flow_shift", "resolution"),
    (TOKENS, "token_rule", "a1111"),
    (f"{TOKENS} --token_chunks=plain", "token_rule", "plain"),
    ("--max_token_length=225", "token_length", 225),
    (f"{TOKENS} --max_token_chunks=3", "max_chunks", 3),
    ("--train_batch_size=4", "batch_size", 4),
    ("--gradient_accumulation_steps=16", "accumulation", 16),
    ("--max_train_epochs=10", "epochs", 10),
    ("--max_train_steps=36000", "max_steps", 36_000),
    (f"{RESUME} --initial_step=5", "start_step", 5),
    (f"{RESUME} --initial_step=5 --stop_at_step=6", "stop_step", 6),
    ("--deepspeed", "zero_stage", 2),
    ("--deepspeed --zero_stage=0", "zero_stage", 0),
    ("--zero_stage=1", "zero_stage", None),
    ("--extensions=dual_tag", "gradients_once", True),
    *((f"--extensions=dual_tag --{name}", "gradients_once", False) for name in OTHER_GRADIENTS),
)
REFUSED = (
    ("--learning_rate=fast", "--learning_rate=fast is not a number"),
    ("--learning_rate=nan", "--learning_rate=nan is not a number"),
    ("--train_text_encoder --learning_rate_te2=x", "--learning_rate_te2=x is not a number"),
    ("--learning_rate=0", "nothing to train: every learning rate is 0"),
    ("--learning_rate=0 --train_text_encoder", "nothing to train"),
    ("--full_bf16", "--full_bf16 needs --mixed_precision=bf16; add it or drop --full_bf16"),
    ("--full_fp16 --mixed_precision=bf16", "--full_fp16 needs --mixed_precision=fp16"),
    ("--optimizer_args decay", "--optimizer_args: 'decay' is not key=value"),
    ("--train_batch_size=0", "--train_batch_size=0 is not a whole number from 1 up"),
    ("--gradient_accumulation_steps=0", "--gradient_accumulation_steps=0 is not a whole number from 1 up"),
    ("--max_train_epochs=0", "--max_train_epochs=0 is not a whole number from 1 up"),
    ("--max_train_steps=1.5", "--max_train_steps=1.5 is not a whole number from 1 up"),
    ("--deepspeed --zero_stage=-1", "--zero_stage=-1 is not a whole number from 0 up"),
    ("--max_token_length=75", "--max_token_length=75: give 150 or 225"),
    ("--max_token_length=226", "--max_token_length=226: give 150 or 225"),
    (f"{UNET} --unet_percent=0", "--unet_percent=0 is not a percentage above 0"),
    (f"{UNET} --unet_train=(", "--unet_train=( is not a regular expression"),
    (f"{TOKENS} --token_chunks=b1111", "--token_chunks=b1111 is not one of a1111, plain, upstream"),
    (f"{RESUME} --initial_step=-1", "--initial_step=-1 is not a whole number from 0 up"),
    (f"{RESUME} --initial_step=5 --stop_at_step=5", "--stop_at_step=5 is not after optimizer step 5"),
    ("--extensions=dual_tags", "--extensions: no plugin named 'dual_tags'; did you mean dual_tag?"),
)


def from_words(words: str) -> Settings:
    return of_words(Flags.of_text(words))


def from_args(words: str) -> Settings:
    """From flags that hold the same texts, as those of a configuration file may."""
    flags = Flags.of_text(words)
    several = {"optimizer_args": flags.values.get("optimizer_args")}
    return of_args(argparse.Namespace(**flags.as_dict() | several))


BOTH = pytest.mark.parametrize("read", [from_words, from_args])


@BOTH
def test_what_nothing_says_is_every_field(read):
    assert {field.name for field in fields(Settings)} == NOTHING.keys() == {name for _, name, _ in SAID}
    made = read("")
    assert {name: getattr(made, name) for name in NOTHING} == NOTHING


@BOTH
@pytest.mark.parametrize(("words", "name", "value"), SAID)
def test_what_a_flag_says(words, name, value, read):
    found = getattr(read(words), name)
    assert found == value and (type(found) is type(value) or isinstance(value, dict))


@BOTH
@pytest.mark.parametrize(("words", "line"), REFUSED)
def test_what_is_refused_in_one_line(words, line, read):
    with pytest.raises(UserError) as caught:
        read(words)
    assert str(caught.value).startswith(line) and "\n" not in str(caught.value)


@BOTH
@pytest.mark.parametrize(
    ("words", "rates"),
    [
        ("--learning_rate=1e-6", {"U-Net": 1e-6}),
        ("--learning_rate_te1=1e-5", {"U-Net": 2e-6}),
        ("--train_text_encoder --learning_rate_te1=0", {"U-Net": 2e-6, "text encoder 2": 2e-6}),
        ("--train_text_encoder --learning_rate=0 --learning_rate_te2=1e-5", {"text encoder 2": 1e-5}),
        ("--train_text_encoder --learning_rate=3 --learning_rate_te2=1", dict(zip(
            ("U-Net", "text encoder 1", "text encoder 2"), (3.0, 3.0, 1.0), strict=True))),
        ("--v2 --learning_rate=0", {"U-Net": 0.0}),
        ("--v2 --train_text_encoder --learning_rate_te=1e-5", {"U-Net": 2e-6, "text encoder 1": 1e-5}),
        ("--v2 --train_text_encoder --learning_rate_te1=1e-5", {"U-Net": 2e-6, "text encoder 1": 2e-6}),
    ],
)  # fmt: skip
def test_rates_by_upstreams_rules(words, rates, read):
    assert read(words).rates == rates


def test_nothing_of_it_can_be_changed():
    made = from_words("--optimizer_args weight_decay=0.1")
    with pytest.raises(FrozenInstanceError):
        made.batch_size = 2
    for mapping in (made.rates, made.optimizer_args):
        with pytest.raises(TypeError):
            mapping["more"] = 1


def test_a_flag_whose_plugin_is_not_listed_is_planned_with():
    """The trainer refuses it; a plan says what it would cost."""
    assert from_words("--unet_percent=71 --initial_step=5").unet_percent == 71.0
    with pytest.raises(UserError, match="--unet_percent=0 is not a percentage"):
        from_words("--unet_percent=0")


@given(epochs=st.none() | st.integers(1, 99), steps=st.integers(1, 999), stop=st.none() | st.integers(1, 9999),
       an_epoch=st.none() | st.integers(1, 999))  # fmt: skip
def test_the_end_is_the_first_of_what_ends_it(epochs, steps, stop, an_epoch):
    words = [f"--max_train_steps={steps}", RESUME]
    words += [f"--max_train_epochs={epochs}"] * (epochs is not None) + [f"--stop_at_step={stop}"] * (stop is not None)
    length = steps if epochs is None else epochs * an_epoch if an_epoch else float("inf")
    end = of_words(Flags(words)).end(an_epoch)
    assert (float("inf") if end is None else end) == min(length, stop or float("inf"))


@pytest.mark.parametrize(
    ("given", "name"), [("AdaFactor", "adafactor"), ("pytorch_optimizer.CAME", "came"), ("", "adamw")]
)
def test_the_class_of_an_optimizer(given, name):
    assert of_words(Flags([f"--optimizer_type={given}"])).optimizer_class == name
