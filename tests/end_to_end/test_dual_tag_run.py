"""What each trainer's text encoders get under each policy of dual_tag, from caption and tags as the hook has them."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
# The trace shows a text's beginning; with the data read in the training process both lines follow each other.
PARTS = re.compile(r"\[hook\] compose_text\(caption=(['\"])(.*?)….*? tags=(['\"])(.*?)…, key=")
TEXT = re.compile(r"\[hook\] tokenize\(texts=\[(['\"])(.*?)…")
READ = re.compile(r"^token_chunks: ([\d,]+) texts read, 0 cut; 0 of ([\d,]+) tokens lost", re.M)
pytestmark = pytest.mark.slow


@dataclass
class Seen:
    """parts: the beginning of (caption, tags) of each text; texts: the beginning of each; tokens: of all together."""

    parts: list[tuple[str, str]]
    texts: list[str]
    tokens: int


def seen(policy: str, trainer: str, folder: Path) -> Seen:
    """Eight optimizer steps of one sample each."""
    flags = f"--dual_tag={policy} --gradient_accumulation_steps=1 --max_data_loader_n_workers=0"
    run = launch("25022601", folder / policy, PROFILE="tiny", TRAINER=trainer, EXTENSIONS_TRACE=1, ARGS=flags)
    assert run.code == 0, run.said[-3000:]
    count, tokens = (int(number.replace(",", "")) for number in READ.search(run.said).groups())
    parts = [(caption, tags) for _, caption, _, tags in PARTS.findall(run.said)]
    texts = [text for _, text in TEXT.findall(run.said)]
    assert count == len(parts) == len(texts) >= 8
    return Seen(parts, texts, tokens)


def begins(text: str, part: str) -> bool:
    """As far as both are shown."""
    length = min(len(text), len(part))
    return length > 20 and text[:length] == part[:length]


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_texts_are_the_policys(trainer, standins, tmp_path):
    runs = {policy: seen(policy, trainer, tmp_path) for policy in ("caption", "tags", "pick", "concat")}
    assert len({tuple(run.parts) for run in runs.values()}) == 1, "the same samples in the same order"
    parts = runs["concat"].parts
    for policy, first in (("caption", 0), ("tags", 1), ("concat", 0)):
        assert all(begins(text, part[first]) for text, part in zip(runs[policy].texts, parts, strict=True)), policy
    picked = [[begins(text, part) for part in pair] for text, pair in zip(runs["pick"].texts, parts, strict=True)]
    assert all(sum(pair) == 1 for pair in picked) and len({tuple(pair) for pair in picked}) == 2
    # Both parts whole, and at most a comma between them.
    least = runs["caption"].tokens + runs["tags"].tokens
    assert least <= runs["concat"].tokens <= least + 2 * len(parts)
