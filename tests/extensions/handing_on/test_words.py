"""What a card says of texts is what the plugin makes of them, and each of its sentences follows from a flag."""

import random
from argparse import Namespace

import pytest

from extensions import manager
from extensions.flags import settings
from extensions.flags.words import Flags
from extensions.handing_on import words
from extensions.handing_on.subject import Subject


def subject(**flags) -> Subject:
    given = Flags.of({name: [] if value is True else [str(value)] for name, value in flags.items()})
    texts = {name: "on" if value is True else str(value) for name, value in flags.items()}
    return Subject("x", settings=settings.of_words(given), flags=texts)


def composed(**flags) -> str:
    """A text as the data loader has it."""
    plugin = manager.declared("dual_tag")()
    defaults = {flag.name: flag.default for flag in plugin.flags}
    of_trainer = {"caption_dropout_rate": 0.0, "enable_wildcard": False, "caption_separator": ","}
    args = Namespace(**defaults | of_trainer | flags)
    mark = args.caption_separator.strip()
    return plugin.compose_text("CAPTION", f"one{mark}two", {}, random.Random(0), args)


@pytest.mark.parametrize("order", ["caption_first", "tags_first"])
@pytest.mark.parametrize("separator", [",", ", ", "|", " | ", ";"])
def test_order_and_separator_are_what_the_plugin_joins_by(order, separator):
    flags = {"dual_tag": "concat", "dual_tag_order": order, "caption_separator": separator}
    said = words.texts({"extensions": "dual_tag", **flags}, subject(extensions="dual_tag", **flags).settings)
    between = said.split("'")[1]
    tags = f"one{between}two"
    parts = ["CAPTION", tags] if order == "caption_first" else [tags, "CAPTION"]
    assert composed(**flags) == between.join(parts)
    assert (said.index("caption") < said.index("tags")) == (order == "caption_first")


@pytest.mark.parametrize(("policy", "said"), [("tags", "no caption"), ("caption", "no tags"), ("pick", "never both")])
def test_other_policies_are_said(policy, said):
    assert said in words.texts({"dual_tag": policy}, subject().settings)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, "up to 75 tokens"),
        ({"max_token_length": 225}, "up to 225 tokens"),
        ({"extensions": "token_chunks", "token_chunks": "upstream"}, "up to 75 tokens"),
        ({"extensions": "token_chunks", "token_chunks": "a1111"}, "as A1111 cuts them"),
        ({"extensions": "token_chunks", "token_chunks": "plain", "max_token_chunks": 2}, "at most 2 chunks"),
    ],
)
def test_length_is_the_rules(flags, said):
    assert said in words.length(subject(**flags).settings)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ({}, "epsilon"),
        ({"v_parameterization": True}, "set v-prediction in the sampler"),
        ({"v_parameterization": True, "zero_terminal_snr": True}, "rescaled to zero terminal SNR"),
        ({"extensions": "objective", "objective": "v"}, "set v-prediction in the sampler"),
        ({"extensions": "objective", "objective": "epsilon"}, "no setting is needed"),
        ({"extensions": "objective", "objective": "flow", "flow_shift": 3}, "ModelSamplingSD3 in ComfyUI), shift 3"),
    ],
)
def test_prediction_is_the_flags(flags, said):
    assert said in words.prediction(subject(**flags).settings)


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            {"learning_rate": 0, "train_text_encoder": True, "learning_rate_te1": "1e-5"},
            "Only the text encoders train",
        ),
        ({"extensions": "unet_percent", "unet_percent": 63}, "63% train, the text encoders do not"),
        ({"extensions": "unet_percent", "unet_train": "attn"}, "a part, chosen by name, train"),
        ({"deepspeed": True, "zero_stage": 2}, "ZeRO stage 2"),
        ({"torch_compile": True}, "compiled"),
        ({"full_bf16": True, "mixed_precision": "bf16"}, "rounded to the nearest value"),
        (
            {
                "extensions": "bf16_updates",
                "bf16_updates": "kahan",
                "full_bf16": True,
                "mixed_precision": "bf16",
            },
            "rounded by the rule kahan",
        ),
        ({"extensions": "resume_at_step", "initial_step": 210000}, "begins at optimizer step 210,000"),
        ({"extensions": "unet_percent", "unet_percent": 71}, "Plugin unet_percent: Trains N% of the U-Net"),
    ],
)
def test_a_trick_is_a_sentence(flags, said):
    assert said in " ".join(words.tricks(subject(**flags)))


def test_a_plugin_from_outside_is_named_and_not_run(tmp_path, monkeypatch):
    (tmp_path / "somebodys.py").write_text("raise SystemExit('run')")
    monkeypatch.syspath_prepend(tmp_path)
    assert words.plugins(["somebodys"]) == ["Plugin somebodys: not one of this project."]
