"""What to change when the card is too small: the first change, in order of what it costs, that fits."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from extensions.base.errors import UserError
from extensions.flags import contradictions
from extensions.flags.pairs import TE_RATES
from extensions.flags.words import Flags
from extensions.model import full_size
from extensions.plan import optimizer_memory, trained, vram
from extensions.plan.vram import Fit

EVERY_8BIT = ("weight_decay", "betas")  # arguments of every 8-bit optimizer
# Percent: SDXL's variants of the logbook; SD2 has none, so round numbers will do.
SHARES = {"sdxl": ("71", "68", "63"), "sd2": ("75", "60", "50")}


@dataclass(frozen=True)
class Change:
    """What to add to ARGS and to take from the launcher, and what it costs in speed or result."""

    add: str
    cost: str
    drop: tuple[str, ...] = ()

    def apply(self, flags: Flags) -> Flags:
        """The flags with this change."""
        changed = Flags(flags.words())
        changed.drop(*self.drop)
        changed.update(Flags.of_text(self.add))
        return changed

    def text(self) -> str:
        """As a person would do it."""
        dropped = [f"without --{name}" for name in self.drop]
        return " ".join([f'ARGS="{self.add}"', *dropped] if self.add else dropped)


def changes(flags: Flags, gpus: int, upstream: bool = True) -> Iterator[Change]:
    """Every change that is left to make and that a launch takes, least loss first. upstream: sd-scripts trains."""
    return (change for change in candidates(flags, gpus, upstream) if launches(change.apply(flags), gpus))


def launches(flags: Flags, gpus: int) -> bool:
    """Whether a launch takes flags that belong together."""
    try:
        contradictions.check(flags, gpus)
    except UserError:
        return False
    return True


def candidates(flags: Flags, gpus: int, upstream: bool) -> Iterator[Change]:
    """Every change that makes a run smaller, whether or not it goes with the other flags."""
    if not any(name in flags for name in vram.ATTENTION):
        yield Change("--sdpa", "none: the same attention, computed in pieces")
    if upstream and gpus > 1 and "deepspeed" not in flags and "ddp_gradient_as_bucket_view" not in flags:
        yield Change("--ddp_gradient_as_bucket_view", "none: the same gradients, kept once")
    if "gradient_checkpointing" not in flags:
        yield Change("--gradient_checkpointing", "about a third of the speed, same result")
    yield from smaller_batches(flags)
    if flags.get("bf16_updates") == "kahan":
        yield Change("--bf16_updates=stochastic", "noise of rounding, which is right in the mean")
    if gpus > 1 and "deepspeed" not in flags:
        yield Change(
            "--deepspeed --zero_stage=2", "slower (1.231 images/s at 100 % were recorded, 1.848 at 71 % without it)"
        )
    yield from smaller_optimizers(flags)
    if not any(name in flags for name in ("full_bf16", "full_fp16", "deepspeed")):
        yield Change("--full_bf16 --mixed_precision=bf16", "small updates are rounded away; see bf16_updates")
    yield from smaller_shares(flags)
    if "train_text_encoder" in flags and trained.learning_rate(full_size.UNET, flags, trained.family_of(flags)):
        rates = tuple(name for name in TE_RATES if name in flags)  # refused without text encoders that train
        yield Change("", "the text encoders stay as they are", ("train_text_encoder", *rates))


def smaller_batches(flags: Flags) -> Iterator[Change]:
    """The same images an optimizer step, one at a time."""
    batch = flags.number("train_batch_size", 1)
    if batch > 1:
        ga = batch * flags.number("gradient_accumulation_steps", 1)
        yield Change(f"--train_batch_size=1 --gradient_accumulation_steps={ga}", "some speed, same images a step")


def smaller_optimizers(flags: Flags) -> Iterator[Change]:
    """Optimizers with less state than the run's own, nearest first."""
    shape = (1024, 1024)
    width = 2 if "full_bf16" in flags else 4
    name = flags.get("optimizer_type") or ("AdamW8bit" if "use_8bit_adam" in flags else "AdamW")
    own = optimizer_memory.state_bytes(name, [shape], width)
    costs = {"AdamW8bit": "none that was seen", "Lion8bit": "another optimizer: its rate is a tenth of AdamW's"}
    for other, cost in costs.items():
        if optimizer_memory.state_bytes(other, [shape], width) < own:
            drop = tuple(n for n in ("use_8bit_adam",) if n in flags)
            yield Change(f"--optimizer_type={other}{other_arguments(flags)}", cost, drop)


def other_arguments(flags: Flags) -> str:
    """What --optimizer_args must become for the 8-bit optimizers, which refuse what they do not know."""
    given = flags.values.get("optimizer_args", [])
    kept = [word for word in given if word.partition("=")[0] in EVERY_8BIT]
    return "" if kept == given else f" --optimizer_args {shlex.join(kept)}".rstrip()


def smaller_shares(flags: Flags) -> Iterator[Change]:
    """Less of the U-Net; the plugin is listed where it is not yet."""
    if "unet_train" in flags or "unet_freeze" in flags:
        return
    family = trained.family_of(flags)
    if not trained.learning_rate(full_size.UNET, flags, family):
        return
    listed = [name for name in flags.get("extensions", "").split(",") if name]
    plugin = "" if "unet_percent" in listed else f" --extensions={','.join(['unet_percent', *listed])}"
    for share in SHARES[family]:
        if float(share) < trained.percent(flags):
            yield Change(f"--unet_percent={share}{plugin}", f"{share} % of the U-Net learn")


def first_that_fits(
    flags: Flags, gpus: int, card: float, constants: Fit, upstream: bool = True
) -> tuple[Change, float]:
    """The cheapest single change that fits `card` GB; else as many of them, in order, as it takes, as one.

    Returns it and the GB that it leads to, which may still be too much.
    """
    for change in changes(flags, gpus, upstream):
        if (needed := size(change.apply(flags), gpus, constants)) <= card:
            return change, needed
    taken: list[Change] = []
    needed = size(flags, gpus, constants)
    # Each change takes away its own reason, so that this ends.
    while needed > card and (change := next(changes(flags, gpus, upstream), None)):
        taken.append(change)
        flags = change.apply(flags)
        needed = size(flags, gpus, constants)
    return together(taken), needed


def together(taken: list[Change]) -> Change:
    """Several changes as one; a later one replaces an earlier one of the same flag, and its cost."""
    added, costs = Flags(), {}
    for change in taken:
        new = Flags.of_text(change.add)
        added.update(new)
        costs[next(iter(new.values), change.drop)] = change.cost
    if "deepspeed" in added and added.drop("ddp_gradient_as_bucket_view"):
        costs.pop("ddp_gradient_as_bucket_view")
    dropped = tuple(dict.fromkeys(name for change in taken for name in change.drop))
    return Change(shlex.join(added.words()), "; ".join(costs.values()), dropped)


def size(flags: Flags, gpus: int, constants: Fit) -> float:
    """GB that a process with these flags needs."""
    return vram.need(vram.setup(flags, gpus), constants)
