"""What to change when a card is too small: the order, and that what is named does fit."""

from functools import partial

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from extensions.flags import contradictions
from extensions.flags.words import Flags
from extensions.model import full_size
from extensions.model.piece_costs import FLOPS
from extensions.model.pieces import Pass, with_shapes
from extensions.model.recomputation import forward_flops
from extensions.optimizers import trial as optimizer_trial
from extensions.plan import advice, recorded, vram_fit
from extensions.plan.advice import Change
from extensions.reference import flags as reference_flags
from extensions.reference import optimizers

FIT = vram_fit.fit(vram_fit.known(recorded.read().readings))
BASE = "--learning_rate=1e-6 --train_text_encoder --extensions=dual_tag"
BF16 = f"{BASE} --full_bf16 --mixed_precision=bf16"
SAVING = f"{BF16} --gradient_checkpointing --sdpa"


def first(flags, gpus, card, **other):
    return advice.first_that_fits(Flags.of_text(flags), gpus, card, FIT, **other)


@pytest.mark.parametrize(
    ("flags", "gpus", "card", "expected"),
    [
        (f"{BF16} --optimizer_type=Lion8bit --gradient_checkpointing --train_batch_size=2", 1, 20, "--sdpa"),
        (
            f"{SAVING.replace('--extensions=dual_tag', '')} --optimizer_type=AdamW8bit",
            4,
            24,
            "--ddp_gradient_as_bucket",
        ),
        (f"{BF16} --optimizer_type=AdamW8bit --sdpa", 1, 24, "--gradient_checkpointing"),
        (f"{SAVING} --optimizer_type=AdamW8bit", 4, 20, "--extensions=dual_tag,shard_optimizer"),
        (f"{SAVING} --optimizer_type=AdamW8bit --train_batch_size=4", 1, 24, "--train_batch_size=1 --gradient_acc"),
        (f"{SAVING} --optimizer_type=AdamW", 1, 24, "--optimizer_type=AdamW8bit"),
        (f"{SAVING} --optimizer_type=AdamW8bit", 1, 20, "--optimizer_type=Lion8bit"),
        (f"{SAVING} --optimizer_type=Lion8bit", 1, 17, "--unet_percent=71 --extensions=unet_percent,dual_tag"),
    ],
)
def test_the_cheapest_comes_first(flags, gpus, card, expected):
    change, needed = first(flags, gpus, card)
    assert change.add.startswith(expected) and needed <= card


def test_a_run_that_keeps_gradients_as_upstream_is_told_of_the_copy():
    change, needed = first(f"{SAVING} --optimizer_type=AdamW8bit --ddp_gradients_as_upstream", 4, 24)
    assert change.text() == "without --ddp_gradients_as_upstream" and change.cost.startswith("none") and needed <= 24


@pytest.mark.parametrize(
    ("more", "upstream", "advised"),
    [("", True, True), ("--gradient_accumulation_steps=4", True, False), ("", False, False)],
)
def test_bucket_views_alone_are_no_advice_where_they_save_nothing(more, upstream, advised):
    without_plugins = SAVING.replace("--extensions=dual_tag", "")
    changes = advice.changes(Flags.of_text(f"{without_plugins} {more}"), 4, upstream)
    assert any("bucket_view" in change.add for change in changes) == advised


def test_several_changes_become_one_where_one_is_not_enough():
    change, needed = first(f"{SAVING} --optimizer_type=AdamW --ddp_gradients_as_upstream", 4, 17)
    assert needed <= 17 and change.drop == ("ddp_gradients_as_upstream",)
    assert change.add == "--extensions=dual_tag,shard_optimizer --optimizer_type=AdamW8bit"


def test_bucket_views_are_not_asked_for_beside_a_first_plugin():
    """A run with plugins keeps its gradients once by itself."""
    without = SAVING.replace("--extensions=dual_tag", "")
    change, needed = first(f"{without} --optimizer_type=AdamW8bit", 4, 15)
    assert needed <= 15 and "--extensions=unet_percent,shard_optimizer" in change.add
    assert "bucket_view" not in change.add and "kept once" not in change.cost


def test_a_card_that_is_too_small_for_everything_gets_all_of_them():
    change, needed = first(SAVING, 1, 4)
    assert needed > 4 and "--unet_percent=63" in change.add and change.drop == ("train_text_encoder",)
    assert "without --train_text_encoder" in change.text() and "71 %" not in change.cost


def test_sd2_is_given_shares_that_it_has():
    shares = [change.add for change in advice.changes(Flags.of_text(f"{SAVING} --v2"), 1) if "percent" in change.add]
    assert [share.split()[0] for share in shares] == ["--unet_percent=75", "--unet_percent=60", "--unet_percent=50"]


def test_a_change_leaves_the_flags_that_it_is_applied_to():
    flags = Flags.of_text("--a=1 --b --c x y")
    assert Change("--a=2 --d", "", ("c",)).apply(flags) == Flags.of_text("--a=2 --b --d")
    assert flags == Flags.of_text("--a=1 --b --c x y")


def test_a_change_is_text_for_the_command_line():
    assert Change("--sdpa", "none").text() == 'ARGS="--sdpa"'
    assert Change("", "none", ("use_8bit_adam",)).text() == "without --use_8bit_adam"


def test_kahan_becomes_stochastic_before_the_optimizer_changes():
    change, needed = first(f"{SAVING} --optimizer_type=AdamW8bit --bf16_updates=kahan", 1, 24)
    assert change.add == "--bf16_updates=stochastic" and needed <= 24


@pytest.mark.parametrize(
    "flags",
    [
        "--optimizer_type=AdamW --optimizer_args weight_decay=1e-2 'betas=(0.9, 0.999)' fused=True",
        "--optimizer_type=extensions.optimizers.CautiousLion --optimizer_args cautious=True weight_decay=1e-2",
        "--optimizer_type=Lion --optimizer_args cautious_factor=0.0",
        "--optimizer_type=pytorch_optimizer.CAME --optimizer_args betas=0.9,0.999,0.9999 clip_threshold=1.0",
    ],
)
def test_another_optimizer_takes_the_arguments_that_are_left(flags):
    flags = Flags.of_text(f"{SAVING} {flags}")
    others = [change for change in advice.changes(flags, 1) if "--optimizer_type" in change.add]
    assert others
    for change in [*others, advice.together(others)]:
        changed = change.apply(flags)
        words = changed.values["optimizer_args"]
        assert [word for word in flags.values["optimizer_args"] if word[:6] in ("weight", "betas=")] == words
        args = reference_flags.parser("sdxl_train.py").parse_args([])
        args.optimizer_type, args.optimizer_args = changed.get("optimizer_type"), words
        schedule = partial(optimizers.lr_scheduler, num_processes=1)
        optimizer_trial.check(args, args.optimizer_type, optimizers.optimizer, schedule)


KEEPING = f"{BF16} --sdpa --optimizer_type=Lion8bit".replace("=dual_tag", "=dual_tag,recompute")


@pytest.mark.parametrize("said", ["none", "6"])
def test_a_run_that_keeps_too_much_is_told_to_keep_what_fits(said):
    change, needed = first(f"{KEEPING} --recompute={said}", 1, 24)
    assert change.add == "--recompute=auto" and needed <= 24


@pytest.mark.parametrize("said", ["auto", "all"])
def test_nothing_more_can_be_recomputed_than_all(said):
    found = [change.add for change in advice.changes(Flags.of_text(f"{KEEPING} --recompute={said}"), 1)]
    assert found and not [add for add in found if add.startswith(("--recompute", "--gradient_checkpointing"))]


@pytest.mark.parametrize(("percent", "share"), [(100, 0.25), (71, 0.27)])
def test_checkpointing_costs_a_quarter_of_the_speed(percent, share):
    """FLOPs, at full size: the reentrant way computes every piece again as a whole; speed.md counts 6.69 of 25.0."""
    shapes, one = full_size.shapes("sdxl")["U-Net"], Pass(1024, 1024, tokens=77)
    pieces = [(piece, own) for piece, own in with_shapes(shapes) if piece.kind != "transformer"]
    again = sum(FLOPS[piece.kind](piece, own, one)[0] for piece, own in pieces)
    passes = forward_flops({"U-Net": shapes}, one) + {100: 13.52e12, 71: 11.58e12}[percent]
    assert again / (again + passes) == pytest.approx(share, abs=0.01)


UPDATES = "--extensions=dual_tag,bf16_updates --bf16_updates"


@settings(max_examples=40)
@given(
    st.sampled_from(
        ["AdamW", "AdaFactor", "pytorch_optimizer.CAME", "extensions.optimizers.AdamW4bit", "Lion",
         "pytorch_optimizer.Lion --optimizer_args cautious=True", "extensions.optimizers.CautiousLion"]
    ),
    st.sampled_from(["", f"{UPDATES}=stochastic", f"{UPDATES}=kahan", "--torch_compile --extensions=dynamo",
                     "--deepspeed", "--fused_backward_pass", "--mem_eff_attn"]),
    st.sampled_from([BASE, BF16, f"{SAVING} --v2", f"{BF16} --train_batch_size=4"]),
    st.integers(1, 8),
    st.floats(6, 40),
    st.booleans(),
)  # fmt: skip
def test_no_advice_is_refused_by_a_launch(optimizer, more, flags, gpus, card, upstream):
    flags = Flags.of_text(f"{flags} --optimizer_type={optimizer} {more}")
    assume(advice.launches(flags, gpus))
    for change in advice.changes(flags, gpus, upstream):
        contradictions.check(change.apply(flags), gpus)
    change, _ = advice.first_that_fits(flags, gpus, card, FIT, upstream)
    contradictions.check(change.apply(flags), gpus)


@settings(max_examples=12)
@given(
    st.sampled_from(["AdamW", "AdamW8bit", "Lion", "AdaFactor"]),
    st.sampled_from([BASE, BF16, SAVING, f"{SAVING} --v2", f"{SAVING} --unet_freeze=attn2"]),
    st.integers(1, 8),
    st.floats(6, 40),
)
def test_what_is_named_does_fit_and_is_what_it_says(optimizer, flags, gpus, card):
    flags = Flags.of_text(f"{flags} --optimizer_type={optimizer}")
    change, needed = advice.first_that_fits(flags, gpus, card, FIT)
    assert advice.size(change.apply(flags), gpus, FIT) == pytest.approx(needed)
    singles = [advice.size(one.apply(flags), gpus, FIT) for one in advice.changes(flags, gpus)]
    assert needed <= card or all(single > card for single in singles)
