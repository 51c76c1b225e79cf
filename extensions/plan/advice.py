"""Advises what to change when the card is too small: the first change, in order of what it costs, that fits."""

import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import contradictions, settings
from extensions.flags.pairs import TE_RATES
from extensions.flags.settings import UNET
from extensions.flags.words import Flags
from extensions.model.recomputation import AUTO, NONE, UPSTREAM
from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers.partition import CLAIM
from extensions.plan import optimizer_memory, vram
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
        """Return the flags with this change."""
        return flags.without(*self.drop).merged(Flags.of_text(self.add))

    def text(self) -> str:
        """As a person would do it."""
        dropped = [f"without --{name}" for name in self.drop]
        return " ".join([f'ARGS="{self.add}"', *dropped] if self.add else dropped)


def changes(flags: Flags, gpus: int, upstream: bool = True) -> Iterator[Change]:
    """Return every change that is left to make and that a launch takes, least loss first.

    upstream: sd-scripts trains.
    """
    return (change for change in candidates(flags, gpus, upstream) if launches(change.apply(flags), gpus))


def launches(flags: Flags, gpus: int) -> bool:
    """Tell whether a launch takes flags that belong together."""
    try:
        contradictions.check(flags, gpus)
    except UserError:
        return False
    return True


def candidates(flags: Flags, gpus: int, upstream: bool) -> Iterator[Change]:
    """Yield every change that makes a run smaller, whether or not it goes with the other flags."""
    if not any(name in flags for name in vram.ATTENTION):
        yield Change("--sdpa", "none: the same attention, computed in pieces")
    if gpus > 1:
        yield from gradients_once(flags, upstream)
        yield from sharding(flags)
    yield from less_kept(flags)
    yield from smaller_batches(flags)
    if settings.of_words(flags).rounding == settings.KAHAN:
        yield Change("--bf16_updates=stochastic", "noise of rounding, which is right in the mean")
    if gpus > 1 and "deepspeed" not in flags:
        yield Change(
            "--deepspeed --zero_stage=2", "slower (1.231 images/s at 100 % were recorded, 1.848 at 71 % without it)"
        )
    yield from smaller_optimizers(flags)
    if not any(name in flags for name in ("full_bf16", "full_fp16", "deepspeed")):
        yield Change("--full_bf16 --mixed_precision=bf16", "small updates are rounded away; see bf16_updates")
    yield from smaller_shares(flags)
    config = settings.of_words(flags)
    if config.encoders_train and UNET in config.rates:
        rates = tuple(name for name in TE_RATES if name in flags)  # refused without text encoders that train
        yield Change("", "the text encoders stay as they are", ("train_text_encoder", *rates))


def gradients_once(flags: Flags, upstream: bool) -> Iterator[Change]:
    """Yield how several processes keep no second copy of their gradients, where they do."""
    config, cost = settings.of_words(flags), "none: the same gradients, kept once"
    if settings.AS_UPSTREAM in flags and "deepspeed" not in flags:
        yield Change("", cost, (settings.AS_UPSTREAM,))
    elif upstream and not config.gradients_once and config.accumulation == 1 and not given_to_ddp(flags):
        yield Change("--ddp_gradient_as_bucket_view", cost)


def sharding(flags: Flags) -> Iterator[Change]:
    """Yield the optimizer's state divided among the ranks."""
    config = settings.of_words(flags)
    divided = config.zero_stage is not None or manager.claimer_of(CLAIM, config.plugins)
    if not divided and optimizer_facts.is_known(config.optimizer):
        plugins = ",".join([*config.plugins, str(manager.claimer_of(CLAIM))])
        yield Change(f"--extensions={plugins}", "the weights travel once more an optimizer step; the same result")


def given_to_ddp(flags: Flags) -> bool:
    """Tell whether the flags say themselves how gradients are kept."""
    return any(name in flags for name in ("deepspeed", "ddp_gradient_as_bucket_view"))


def less_kept(flags: Flags) -> Iterator[Change]:
    """Yield more recomputation, where not everything is recomputed yet. `auto` takes what there is."""
    said = settings.of_words(flags).recompute
    if said == UPSTREAM and "gradient_checkpointing" not in flags:
        yield Change(
            "--gradient_checkpointing",
            "a quarter of the speed; the text encoders' gradients to rounding (the plugin recompute: to the bit)",
        )
    elif said == NONE or isinstance(said, float):
        yield Change(f"--recompute={AUTO}", "up to a quarter of the speed, the same bits")


def smaller_batches(flags: Flags) -> Iterator[Change]:
    """Yield the same images an optimizer step, one at a time."""
    config = settings.of_words(flags)
    if config.batch_size > 1:
        ga = config.batch_size * config.accumulation
        yield Change(f"--train_batch_size=1 --gradient_accumulation_steps={ga}", "some speed, same images a step")


def smaller_optimizers(flags: Flags) -> Iterator[Change]:
    """Optimizers with less state than the run's own, nearest first."""
    shape, config = (1024, 1024), settings.of_words(flags)
    width = 2 if config.full_precision else 4
    own = optimizer_memory.state_bytes(config.optimizer, [shape], width)
    costs = {"AdamW8bit": "none that was seen", "Lion8bit": "another optimizer: its rate is a tenth of AdamW's"}
    for other, cost in costs.items():
        if optimizer_memory.state_bytes(other, [shape], width) < own:
            drop = tuple(n for n in ("use_8bit_adam",) if n in flags)
            yield Change(f"--optimizer_type={other}{other_arguments(flags)}", cost, drop)


def other_arguments(flags: Flags) -> str:
    """Return what --optimizer_args must become for the 8-bit optimizers, which refuse what they do not know."""
    given = flags.values.get("optimizer_args", [])
    kept = [word for word in given if word.partition("=")[0] in EVERY_8BIT]
    return "" if kept == given else f" --optimizer_args {shlex.join(kept)}".rstrip()


def smaller_shares(flags: Flags) -> Iterator[Change]:
    """Less of the U-Net; the plugin is listed where it is not yet."""
    config = settings.of_words(flags)
    if config.unet_train or config.unet_freeze or UNET not in config.rates:
        return
    owner = manager.owner_of_flag("unet_percent")
    plugin = "" if owner in config.plugins else f" --extensions={','.join([owner, *config.plugins])}"
    for share in SHARES[config.family]:
        if float(share) < config.unet_percent:
            yield Change(f"--unet_percent={share}{plugin}", f"{share} % of the U-Net learn")


def first_that_fits(
    flags: Flags, gpus: int, card: float, constants: Fit, upstream: bool = True
) -> tuple[Change, float]:
    """Return the cheapest single change that fits `card` GB; else as many of them, in order, as it takes, as one.

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
        added = added.merged(new)
        costs[next(iter(new.values), change.drop)] = change.cost
    # ZeRO has no use for it, and a run with plugins keeps its gradients once by itself.
    if "ddp_gradient_as_bucket_view" in added and ("deepspeed" in added or "extensions" in added):
        added = added.without("ddp_gradient_as_bucket_view")
        costs.pop("ddp_gradient_as_bucket_view")
    dropped = tuple(dict.fromkeys(name for change in taken for name in change.drop))
    return Change(shlex.join(added.words()), "; ".join(costs.values()), dropped)


def size(flags: Flags, gpus: int, constants: Fit) -> float:
    """GB that a process with these flags needs."""
    return vram.need(vram.setup(flags, gpus), constants)
