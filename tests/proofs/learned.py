"""Judges by its draws whether a checkpoint has learned the eight texts, and by its tensors what it left alone."""

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from extensions.model.checkpoint import UNET
from tests.proofs import drawn
from tests.proofs.pictures import EQUAL_AT_FIRST, PICTURES, PLAIN, TAGS_ONLY, Prepared

FACTS = Path(__file__).parents[1] / "fixtures" / "unet_percent.json"
SEVEN_OF_EIGHT = 7 / 8
APART = 3 / 4  # of a pair's draws are right where its texts are told apart; one picture for both texts has half
PAIRS = {"the long texts": EQUAL_AT_FIRST, "the tags": TAGS_ONLY}


@dataclass(frozen=True)
class Judged:
    """right: right draws of plain texts, of long ones, of tags alone. wrong: what a row does not hold; or nothing."""

    drawn: drawn.Drawn | None
    right: tuple[str, str, str]
    wrong: str


def judged(checkpoint: Path, ready: Prepared, export: Path, upstreams: bool, means: bool) -> Judged:
    """Export, draw each text from each seed, and judge.

    upstreams: texts are cut as upstream cuts them. means: whether a picture's brightness counts.
    """
    pipeline = drawn.pipeline_of(checkpoint, export)
    texts = [picture.text for picture in PICTURES]
    found = drawn.drawn(pipeline, texts, ready.targets, not upstreams, means=means)
    plain, long, tags = (
        f"{found.right(group)} of {len(group) * len(drawn.SEEDS)}" for group in (PLAIN, EQUAL_AT_FIRST, TAGS_ONLY)
    )
    return Judged(found, (plain, long, tags), (lost_as_upstream if upstreams else learned)(found))


def learned(found: drawn.Drawn) -> str:
    """Return what is missing where every text should give its own picture."""
    everything = range(len(PICTURES))
    if found.share(everything) < SEVEN_OF_EIGHT:
        return f"only {found.right(everything)} draws are right"
    return "; ".join(f"{name} are not told apart" for name, pair in PAIRS.items() if found.share(pair) < APART)


def lost_as_upstream(found: drawn.Drawn) -> str:
    """Return what is otherwise than upstream's rules have it: plain texts learned, each pair one picture."""
    if found.share(PLAIN) < SEVEN_OF_EIGHT:
        return "the plain texts are not learned, so that the others say nothing"
    one, other = EQUAL_AT_FIRST
    if not torch.equal(found.latents[one], found.latents[other]):
        return "the long texts give two pictures, although they are cut to the same tokens"
    return "; ".join(f"{name} are told apart" for name, pair in PAIRS.items() if found.share(pair) >= APART)


def equal(one: Path, other: Path) -> bool:
    """Tell whether two checkpoints hold the same tensors, bit for bit."""
    first, second = load_file(one), load_file(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def not_frozen(base: Path, checkpoint: Path) -> str:
    """Return what is wrong where 71 % of a U-Net trained: the recorded blocks are the base's, all others moved."""
    before, after = load_file(base), load_file(checkpoint)
    blocks = json.loads(FACTS.read_text(encoding="utf-8"))["variants"]["71"]["frozen"]
    unet = [name for name in after if name.startswith(UNET)]
    same = {name for name in unet if torch.equal(before[name], after[name])}
    kept = {name for name in unet if name.startswith(tuple(f"{UNET}{block}." for block in blocks))}
    return "" if same == kept else f"{len(same ^ kept)} tensors of the U-Net are not as unet_percent=71 says"
