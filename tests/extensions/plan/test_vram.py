"""Memory by part: sums that can be done by hand, and what must hold for every setup."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from extensions.base.errors import UserError
from extensions.base.paths import ROOT
from extensions.flags import settings as settings_of_flags
from extensions.flags.words import Flags
from extensions.plan import vram
from extensions.plan.vram import GB, Fit
from extensions.plugins import token_chunks
from extensions.reference import text

FIT = Fit(reserve=1.2, cached=0.9)
UNET, TE1, TE2 = 2_567_463_684, 123_060_480, 694_659_840
TE1_TRAINED = 115_971_072
ALL = UNET + TE1_TRAINED + TE2
BASE = "--learning_rate=1e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --gradient_checkpointing --sdpa"
ZERO = f"{BASE} --deepspeed --zero_stage=2 --gradient_accumulation_steps=4"


READINGS = sorted((ROOT / "benchmarks" / "readings").glob("*.json"))


def stages(path):
    """(share of the U-Net that trained, bytes that PyTorch had allocated at most) of each stage of a reading."""
    for name, stage in json.loads(path.read_text())["stages"].items():
        found = stage.get("figures", stage)  # benchmarks.gpu's are in a place of their own
        if "allocated_bytes" in found and "losses" in found:  # a trainer's
            yield 100 if name in ("pristine", "no plugins", "without-plugins") else 71, found["allocated_bytes"]


@pytest.mark.parametrize("path", READINGS, ids=lambda path: path.stem)
def test_the_parts_are_what_a_card_had_allocated(path):
    """Read on a GPU by benchmarks.gpu or its predecessor: real shapes, real kernels, one process."""
    found = list(stages(path))
    assert found
    for percent, allocated in found:
        trained = f"{BASE} --unet_percent={percent} --optimizer_type=AdamW8bit --dataset_class=x"
        assert sum(parts(trained).values()) == pytest.approx(allocated, rel=0.02)


def setup(flags, gpus=1):
    return vram.setup(Flags.of_text(flags), gpus)


def parts(flags, gpus=1):
    return vram.parts(setup(flags, gpus))


def test_one_process_in_full_bf16_with_lion():
    found = parts(f"{BASE} --optimizer_type=lion_pytorch.Lion")
    assert found["weights, U-Net"] == 2 * UNET
    assert found["weights, text encoders"] == 2 * (TE1 + TE2)
    assert found["gradients"] == found["optimizer state"] == 2 * ALL
    assert "gradient buckets (DDP)" not in found


def test_mixed_precision_keeps_fp32_and_a_copy_in_16_bits():
    found = parts("--learning_rate=1e-6 --mixed_precision=bf16 --gradient_checkpointing --sdpa")
    assert found["weights, U-Net"] == found["gradients"] == 4 * UNET
    assert found["weights, text encoders"] == 2 * (TE1 + TE2)  # they do not train
    assert found["16-bit copies of trained weights (autocast)"] == 2 * UNET


def test_what_does_not_train_has_neither_gradient_nor_state():
    rates = "--learning_rate=0 --learning_rate_te1=1e-5 --learning_rate_te2=1e-5"
    found = parts(f"{rates} --train_text_encoder --full_bf16 --mixed_precision=bf16 --sdpa")
    assert found["gradients"] == 2 * (TE1_TRAINED + TE2) and found["weights, U-Net"] == 2 * UNET


def test_cached_text_encoders_and_uncached_latents():
    cached = parts("--learning_rate=1e-6 --cache_text_encoder_outputs --sdpa")
    assert "weights, text encoders" not in cached and "weights, autoencoder" in cached
    assert "weights, autoencoder" not in parts("--learning_rate=1e-6 --cache_latents --sdpa")


def test_encoders_whose_outputs_are_read_leave_the_card_unless_a_plugin_asks_them():
    texts, asked = (f"--learning_rate=1e-6 --sdpa --extensions={names}" for names in ("text_outputs", "validate"))
    assert "weights, text encoders" not in parts(f"{texts} --text_outputs=x")
    assert "weights, text encoders" in parts(asked)
    assert "weights, text encoders" in parts(f"{asked},text_outputs --text_outputs=x")


def test_sd2_has_one_text_encoder_and_smaller_buckets():
    made = setup(f"{BASE} --v2")
    assert len(made.models) == 2 and (made.shape.width, made.shape.height) == (768, 768)


def test_resolution_and_chunks_reach_the_pass():
    shape = setup(f"{BASE} --resolution=896,1152 --token_chunks=a1111 --max_token_chunks=5").shape
    assert (shape.width, shape.height, shape.tokens) == (896, 1152, 385)
    assert setup(BASE).shape.tokens == 77


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("", 77),
        ("--extensions=token_chunks", 231),  # its default is a1111; three chunks is a guess for captions with tags
        ("--extensions=dual_tag,token_chunks --token_chunks=plain", 231),
        ("--extensions=token_chunks --token_chunks=a1111 --max_token_chunks=2", 154),
        ("--extensions=token_chunks --token_chunks=upstream", 77),
        ("--extensions=token_chunks --token_chunks=upstream --max_token_length=150", 152),
        ("--max_token_length=225", 227),
    ],
)
def test_tokens_are_those_of_the_rule(flags, expected):
    assert setup(f"{BASE} {flags}").shape.tokens == expected


@pytest.mark.parametrize("length", [150, 225])
def test_tokens_of_the_trainers_own_cut_are_what_the_reference_hands_on(length):
    states = torch.zeros(1, 77 * length // 75, 4)
    assert setup(f"{BASE} --max_token_length={length}").shape.tokens == text.without_seams(states).shape[1]


def test_text_encoders_read_whole_chunks():
    cut, chunks = f"{BASE} --max_token_length=225", f"{BASE} --token_chunks=a1111 --max_token_chunks=3"
    assert parts(cut)["activations"] == parts(chunks)["activations"] > parts(BASE)["activations"]


def test_before_the_first_step_there_is_no_optimizer():
    made = setup(BASE, gpus=4)
    state = vram.parts(made)["optimizer state"] + vram.parts(made)["optimizer step, for a moment"]
    assert vram.need(made, FIT) - vram.need(made, FIT, before_first_step=True) == pytest.approx(state / GB)


def test_a_reading_is_capped_by_the_card_and_one_process_fills_it():
    one, four = setup(f"{BASE} --optimizer_type=Lion8bit"), setup(f"{BASE} --optimizer_type=Lion8bit", gpus=4)
    alone, together = vram.need(one, FIT), vram.need(four, FIT)
    assert vram.shown(alone, 1, 24, FIT) == pytest.approx(alone + 0.9 * (24 - alone))
    assert together > 24 == vram.shown(together, 4, 24, FIT)
    assert vram.shown(together, 4, 48, FIT) == together


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ("--full_bf16", "--full_bf16 needs --mixed_precision=bf16"),
        ("--resolution=big", "--resolution=big is neither"),
        ("--resolution=1,2,3", "--resolution=1,2,3 is neither"),
        ("--train_batch_size=x", "not a whole number"),
        ("--token_chunks=a111", "--token_chunks=a111 is not one of a1111, plain, upstream"),
        ("--max_token_chunks=-1", "--max_token_chunks=-1 is not a whole number from 0 up"),
        ("--max_token_length=100", "--max_token_length=100: give 150 or 225"),
    ],
)
def test_flags_that_make_no_sense_are_one_line(flags, message):
    with pytest.raises(UserError, match=message):
        setup(flags)


@pytest.mark.parametrize(
    "flags", ["--deepspeed --zero_stage=3", "--offload_optimizer_device=cpu", "--fused_backward_pass"]
)
def test_what_is_not_modelled_says_so(flags):
    assert vram.unmodelled(Flags.of_text(flags)).split()[0] in flags
    assert not vram.unmodelled(Flags.of_text(ZERO))


OPTIMIZERS = st.sampled_from(["AdamW", "AdamW8bit", "Lion", "Lion8bit", "AdaFactor", "pytorch_optimizer.CAME"])


@settings(max_examples=15)
@given(OPTIMIZERS, st.integers(1, 8), st.booleans(), st.integers(1, 99), st.integers(1, 99))
def test_less_of_the_u_net_never_needs_more(optimizer, gpus, zero, one, other):
    flags = f"{ZERO if zero else BASE} --optimizer_type={optimizer}"
    small, large = sorted((one, other))
    # A set of whole blocks is as close as it gets to the share, 0.05 % on either side.
    less, more = (vram.need(setup(f"{flags} --unet_percent={share + 0.5}", gpus), FIT) for share in (small, large))
    assert less <= more + 0.5


def test_the_rules_of_a_text_are_the_plugins():
    (flag,) = [flag for flag in token_chunks.Plugin.flags if flag.name == "token_chunks"]
    assert flag.choices == settings_of_flags.TOKEN_RULES
    assert [setup(f"{BASE} --token_chunks={rule}").shape.tokens for rule in flag.choices] == [231, 231, 77]


RECOMPUTED = f"{BASE} --extensions=recompute".replace(" --gradient_checkpointing", "")


def activations_of(said):
    return parts(f"{RECOMPUTED} --recompute={said}")["activations"]


def test_what_recompute_keeps_is_activations_and_nothing_else():
    """All is what checkpointing keeps, auto what is left over, and a budget is used up to less than a piece."""
    checkpointed = parts(BASE)
    everything = parts(f"{RECOMPUTED} --recompute=all")
    assert everything == checkpointed == parts(f"{RECOMPUTED} --recompute=auto")
    assert activations_of(2) - activations_of("all") == pytest.approx(2 * vram.GB, rel=0.005)
    assert activations_of(2) <= activations_of("all") + 2 * vram.GB
    assert parts(f"{BASE} --extensions=recompute --recompute=upstream") == checkpointed


def test_nothing_recomputed_is_as_without_checkpointing():
    plain = parts(BASE.replace(" --gradient_checkpointing", ""))["activations"]
    assert activations_of("none") == activations_of(1000) == pytest.approx(plain, rel=0.001)
