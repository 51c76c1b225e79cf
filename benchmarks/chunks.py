"""What the text encoders cost by the chunks of their texts: padded to the batch's own longest, or always to three.

    .venv/bin/python -m benchmarks.chunks [--size tiny|mid|full] [--rounds 3] [--batch 4] [--texts 12]

Forward and backward of SDXL's two text encoders in float32, in this process with one thread, over the token ids
that the plugin token_chunks makes; the table of token embeddings is frozen, for its gradient costs the same
whatever the texts are. `full` has the published sizes (817M parameters), `mid` four and two of their 12 and 32
layers, `tiny` two narrow layers each. First texts of 1 to 5 chunks, one at a
time: cost in proportion to chunks means that the ratio is the number of chunks. Then the stand-ins' own texts
(caption, then tags), in batches of one and of --batch, against the same batches padded to three chunks, which is
what --max_token_length=225 does; a text of more than three would be cut there. Who goes first changes every
round, and only ratios within a round are compared.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from rich.console import Console
from rich.table import Table
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.launch import tiny
from extensions.plugins.token_chunks import Plugin
from extensions.reference.text import Text
from extensions.text.encoding import encode_sdxl

# (width, layers, heads) of the two encoders.
SIZES = {
    "tiny": ((128, 2, 2), (128, 2, 2)),
    "mid": ((768, 4, 12), (1280, 2, 20)),
    "full": ((768, 12, 12), (1280, 32, 20)),
}
CHUNKS = (1, 2, 3, 4, 5)
ALWAYS = 3
Ids = list[torch.Tensor]


def encoders(size: str) -> list[torch.nn.Module]:
    """Two text encoders with random weights."""
    made = []
    for cls, (width, layers, heads) in zip((CLIPTextModel, CLIPTextModelWithProjection), SIZES[size], strict=True):
        config = CLIPTextConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, num_attention_heads=heads,
            projection_dim=width,
        )  # fmt: skip
        made.append(cls(config))
        made[-1].text_model.embeddings.token_embedding.requires_grad_(False)
    return made


def captions() -> list[str]:
    """The stand-ins' texts as `--dual_tag=concat` makes them."""
    entries = json.loads(tiny.standins()["meta_sdxl"].read_text(encoding="utf-8")).values()
    return [", ".join(filter(None, (entry.get("caption"), entry.get("tags")))) for entry in entries]


def in_batches(texts: list[str], size: int, tokenize: Callable[[list[str]], Ids]) -> list[Ids]:
    """Token ids of the texts, `size` a batch."""
    return [tokenize(texts[start : start + size]) for start in range(0, len(texts), size)]


def at_three(ids: Ids, empty: Ids) -> Ids:
    """The same batch with exactly three chunks a text."""
    b, n = ids[0].shape[:2]
    pairs = zip(ids, empty, strict=True)
    return [torch.cat([each, one.expand(b, max(0, ALWAYS - n), 77)], 1)[:, :ALWAYS] for each, one in pairs]


def seconds(models: list, batches: list[Ids], eos: int) -> float:
    """Forward and backward over all batches."""
    began = time.perf_counter()
    for ids in batches:
        *states, pooled = encode_sdxl(ids, models, models[1].text_projection, eos)
        (sum(each.square().mean() for each in states) + pooled.square().mean()).backward()
    return time.perf_counter() - began


def compare(ways: dict, models: list, eos: int, rounds: int, what: str) -> list[dict]:
    """Seconds of each way, once a round; the first round of all is not counted, it warms up."""
    found = []
    for number in range(rounds + 1):
        order = list(ways) if number % 2 else list(ways)[::-1]
        found.append({way: seconds(models, ways[way], eos) for way in order})
        print(f"{what}: round {number} of {rounds}", file=sys.stderr, flush=True)
    return found[1:]


def row(found: list[dict], way, base, expected: float) -> tuple[str, ...]:
    """Median seconds, median ratio with its range, and the ratio of the chunks."""
    ratios = sorted(each[way] / each[base] for each in found)
    middle = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
    return f"{statistics.median(each[way] for each in found):.3f}", middle, f"{expected:.2f}"


def by_chunks(asked, models: list, tokenize, eos: int) -> Table:
    """One text of 1 to 5 chunks at a time."""
    ways = {n: [tokenize(["cat " * (75 * n)])] for n in CHUNKS}
    found = compare(ways, models, eos, asked.rounds, "by chunks")
    table = Table("chunks of a text", "s", "ratio to one (least to greatest)", "chunks", title=asked.size)
    for n in CHUNKS:
        table.add_row(str(n), *row(found, n, 1, n))
    return table


def by_padding(asked, models: list, tokenize, eos: int) -> Table:
    """The stand-ins' texts, padded either way."""
    texts, empty = captions()[: asked.texts], [each[:, :1] for each in tokenize([""])]
    title = f"{asked.size}, {len(texts)} captions with tags, {asked.rounds} rounds"
    table = Table("batch", "padded to", "s", "ratio (least to greatest)", "ratio of the chunks", title=title)
    for size in (1, asked.batch):
        own = in_batches(texts, size, tokenize)
        ways = {"its longest": own, "three": [at_three(ids, empty) for ids in own]}
        chunks = {way: sum(ids[0].shape[0] * ids[0].shape[1] for ids in each) for way, each in ways.items()}
        found = compare(ways, models, eos, asked.rounds, f"batches of {size}")
        for way in ways:
            table.add_row(str(size), way, *row(found, way, "three", chunks[way] / chunks["three"]))
    return table


def main(arguments: list[str]) -> int:
    """Measure and print. The figures are no test: the exit code does not depend on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=SIZES, default="mid")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--texts", type=int, default=12, help="so many of the stand-ins' texts")
    asked = parser.parse_args(arguments)
    for name in ("rounds", "batch", "texts"):
        if getattr(asked, name) < 1:
            raise UserError(f"--{name}={getattr(asked, name)}: give 1 or more")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    tokenizers = Text("sdxl", str(tiny.standins()["tokenizers"]), None).tokenizers
    plugin, models = Plugin(), encoders(asked.size)

    def tokenize(texts: list[str]) -> Ids:
        return plugin.tokenize(texts=texts, tokenizers=tokenizers)

    for table in (by_chunks, by_padding):
        Console(width=118).print(table(asked, models, tokenize, tokenizers[0].eos_token_id))
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
