"""The figures of docs/memory.md are the plan's."""

import pytest

from extensions.base.paths import ROOT
from extensions.flags.words import Flags
from extensions.optimizers.facts import OPTIMIZERS
from extensions.plan import recorded, vram, vram_fit

FLAGS = (
    "--learning_rate=1.5e-6 --train_text_encoder --full_bf16 --mixed_precision=bf16 --gradient_checkpointing --sdpa "
    "--dataset_class=x --gradient_accumulation_steps=4"
)
COLUMNS = (
    "--extensions=dual_tag --ddp_gradients_as_upstream",
    "--extensions=dual_tag",
    "--extensions=shard_optimizer",
    "--extensions=shard_optimizer,bf16_updates --bf16_updates=stochastic",
)
FLAG_OF = {facts.name: facts.flag.split()[0] for facts in OPTIMIZERS}


def rows() -> dict[str, list[str]]:
    """{optimizer: its cells} of the table."""
    lines = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    return {first: rest for first, *rest in cells if first in FLAG_OF}


def test_every_optimizer_is_there_once():
    assert set(FLAG_OF) - set(rows()) == {"AdaFactor, own schedule"}  # the same bytes


@pytest.mark.parametrize("name", rows())
def test_a_row_is_what_the_plan_says(name):
    constants = vram_fit.fit(vram_fit.known(recorded.read().readings))
    flags = [Flags.of_text(f"{FLAGS} --optimizer_type={FLAG_OF[name]} {more}") for more in COLUMNS]
    assert rows()[name] == [f"{vram.need(vram.setup(each, 4), constants):.1f}" for each in flags]
