"""Says in plain sentences what a run's flags did to its training, and how its model is to be prompted."""

import os
import re
import sys
from collections.abc import Mapping

from extensions import manager
from extensions.flags.settings import A1111, NEAREST, PLAIN, UNET, Settings
from extensions.handing_on.subject import Subject
from extensions.logbook.commands import learning_rates
from extensions.model.prediction import EPSILON, FLOW

SEPARATOR = ","  # between caption and tags, where --caption_separator says no other; as the trainers have it
LOG_TAIL = 1 << 16  # bytes of a log, at the end of which the texts are counted
USED = re.compile(r"token_chunks: +(\d+\+? chunks?) +[\d,]+ +([\d.]+%)")


def tricks(subject: Subject) -> list[str]:
    """Return a sentence for each thing that the run does otherwise than plain fine-tuning; then its plugins."""
    made, flags = subject.settings, subject.flags
    if made is None:
        return plugins(subject.manifest.extensions)
    found = [what_trains(subject, made)]
    if made.accumulation > 1:
        found.append(f"{made.accumulation} micro-steps are accumulated to each optimizer step.")
    found += precision(made)
    if "min_snr_gamma" in flags:
        found.append(f"The loss is weighted by min-SNR with gamma {flags['min_snr_gamma']}.")
    if "loss_weight" in flags:
        found.append(f"The loss is weighted by the rule {flags['loss_weight']}.")
    if made.zero_stage is not None:
        found.append(f"DeepSpeed divides the optimizer's state among the processes (ZeRO stage {made.zero_stage}).")
    if "torch_compile" in flags:
        found.append("The models were compiled (PyTorch Dynamo).")
    if made.start_step:
        found.append(f"It is a segment of a longer schedule and begins at optimizer step {made.start_step:,}.")
    return [*found, *plugins(made.plugins)]


def what_trains(subject: Subject, made: Settings) -> str:
    """Return which models train, how much of the U-Net, by which optimizer and rates."""
    encoders = [name for name in made.rates if name != UNET]
    if UNET not in made.rates:
        what = "Only the text encoders train"
    else:
        share = "all" if made.unet_percent == 100 else f"{made.unet_percent:g}%"
        if made.unet_train or made.unet_freeze:
            share = "a part, chosen by name,"
        what = f"Of the U-Net's parameters {share} train, " + (
            "and the text encoders" if encoders else "the text encoders do not"
        )
    rates = ", ".join(f"{name} {rate:g}" for name, rate in made.rates.items())
    if subject.run and not subject.record:
        rates = learning_rates(subject.run)
    return f"{what}; optimizer {made.optimizer}, learning rates: {rates}. What does not train is the base model's."


def precision(made: Settings) -> list[str]:
    """Return how weights are kept and rounded."""
    if not made.full_precision:
        return []
    said = f"Weights and gradients were kept in {made.full_precision}"
    rounding = "to the nearest value" if made.rounding == NEAREST else f"by the rule {made.rounding}"
    return [f"{said}; updates were rounded {rounding}."]


def plugins(names) -> list[str]:
    """Return a sentence for each plugin: the first of what it says of itself.

    Of this package alone: a record may be anybody's, and to ask a module is to run it.
    """
    known = manager.available()
    found = []
    for name in map(str, names):
        said = sys.modules[manager.declared(name).__module__].__doc__ if name in known else None
        found.append(f"Plugin {name}: {(said or 'not one of this project.').strip().splitlines()[0]}")
    return found


def prompting(subject: Subject) -> list[tuple[str, str]]:
    """Return [(what, how)] for a person who writes prompts for the model."""
    made, flags = subject.settings, subject.flags
    if made is None:
        return []
    rows = [("The model predicts", prediction(made)), ("Text", texts(flags, made)), ("Length", length(made))]
    skip = flags.get("clip_skip")
    rows.append(
        (
            "Clip skip",
            f"trained with {skip}" if skip else "none was set; leave the interface's at its default",
        )
    )
    if used := chunks_used(subject):
        rows.append(("Texts that it has learnt from", used))
    return rows


def chunks_used(subject: Subject) -> str:
    """Return how long the texts of the last launch were, as its log says at the end; nothing where it does not."""
    if not subject.record:
        return ""
    try:
        with open(subject.record.last.folder / "train.log", "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - LOG_TAIL))
            text = file.read(LOG_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
    found = dict(USED.findall(text))  # of several processes, the last one's
    return ", ".join(f"{share} of {chunks.strip()}" for chunks, share in found.items())


def prediction(made: Settings) -> str:
    """Return what the U-Net predicts, and what a sampler has to know of it."""
    if made.prediction == FLOW:
        shift = "by resolution" if isinstance(made.flow_shift, str) else f"{made.flow_shift:g}"
        return f"rectified flow, from image to noise: set a flow sampler (ModelSamplingSD3 in ComfyUI), shift {shift}"
    if made.prediction == EPSILON:
        return "noise (epsilon), as SDXL does; no setting is needed"
    if made.zero_snr:
        return "v, with zero terminal SNR: set v-prediction and a schedule that is rescaled to zero terminal SNR"
    return "v: set v-prediction in the sampler"


def texts(flags: Mapping[str, str], made: Settings) -> str:
    """Return which parts a text has, in which order, and what stands between them."""
    given = flags.get("caption_separator", SEPARATOR)
    policy = flags.get("dual_tag")
    if policy is None:
        return f"a caption, then tags, with {given!r} between them, as the trainer joins them"
    mark = given.strip()
    between = given if given != mark else f"{mark} "
    tags = f"tags with {between!r} between them"
    if policy == "concat":
        first, second = ("a caption", tags)
        if flags.get("dual_tag_order") == "tags_first":
            first, second = second, first
        return f"{first}, then {between!r}, then {second}"
    return {
        "pick": f"either a caption or {tags}: one of the two, never both",
        "tags": f"{tags}, no caption",
        "caption": "a caption, no tags",
    }.get(policy, policy)


def length(made: Settings) -> str:
    """Return how long a text may be and where it is cut."""
    if made.token_rule == A1111:
        rule = "any, in chunks of 75 tokens as A1111 cuts them: at a comma where one is near the 75th"
    elif made.token_rule == PLAIN:
        rule = "any, in chunks of 75 tokens, cut wherever the 75th ends"
    else:
        return f"up to {made.token_length} tokens, sd-scripts' own cut; what was longer has not been learnt"
    return rule + (f"; at most {made.max_chunks} chunks" if made.max_chunks else "; as many chunks as a text needs")
