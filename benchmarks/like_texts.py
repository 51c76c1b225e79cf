"""What the text encoders have to do at several images a batch, with texts as drawn and with like ones: counted.

    .venv/bin/python -m benchmarks.like_texts [--rows 8000] [--batch 4]

Made-up texts as long as the recorded sets': captions of about 75 words, about 35 tags, both drawn log-normally from
the stand-ins' own words and tags; the seeds are fixed. They are composed by dual_tag and cut by token_chunks, and the
batches are a run's (`extensions/data/loader.py`). Work: chunks that the encoders read, padding among them: they cost
what chunks there are (`benchmarks.chunks`). Least: every text by itself. Last column: CPU time to know the rows of a
batch, all windows of an epoch sorted once.
"""

import argparse
import random
import sys
import time
from types import SimpleNamespace

import numpy as np
import toml
from rich.console import Console
from rich.table import Table

from extensions.base.errors import UserError
from extensions.base.reporting import exit_code_of
from extensions.data.dealing import AS_DRAWN
from extensions.data.like_texts import LIKE, length_of
from extensions.data.loader import Places
from extensions.data.order import batch_count
from extensions.launch import tiny
from extensions.plugins import dual_tag
from extensions.plugins.token_chunks import Plugin
from extensions.reference.text import Text
from extensions.standins.photos import CAPTIONS

WORDS, TAGS, SPREAD = 75, 35, 0.35  # means, and the deviation of their logarithm
BUCKETS = 25
OF_TRAINER = {"caption_separator": ", ", "caption_dropout_rate": 0.0, "enable_wildcard": False}
POLICIES = {
    "caption and tags": {"dual_tag": "concat"},
    "caption or tags": {"dual_tag": "pick"},
    "both, 10 % captions, 10 % tags, 10 % none": {
        "dual_tag": "concat", "dual_tag_drop_caption": 0.1, "dual_tag_drop_tags": 0.1, "caption_dropout_rate": 0.1,
    },
}  # fmt: skip


class Rows:
    """A data set as `Places` sees it: rows in buckets, and their texts."""

    trained, seed = None, 1

    def __init__(self, rows: int, batch_size: int, policy: dict):
        draw = np.random.default_rng(2)
        self.bucket, self.batch_size = draw.integers(0, BUCKETS, rows).astype(np.int16), batch_size
        self.plugin = dual_tag.Plugin()
        self.args = SimpleNamespace(
            **{flag.name: flag.default for flag in dual_tag.Plugin.flags} | OF_TRAINER | policy
        )
        words, tags = pools()
        of_text = [np.exp(draw.normal(np.log(mean) - SPREAD**2 / 2, SPREAD, rows)) for mean in (WORDS, TAGS)]
        counts = np.maximum(1, np.rint(of_text)).astype(int)
        self.captions = [" ".join(draw.choice(words, count)) for count in counts[0]]
        self.tags = [", ".join(draw.choice(tags, count)) for count in counts[1]]

    def __len__(self) -> int:
        return batch_count(self.bucket, self.batch_size)

    def text(self, row: int, epoch: int) -> str:
        """The text of a row in an epoch."""
        draw = random.Random(f"{self.seed}:{epoch}:{row}")
        return self.plugin.compose_text(self.captions[row], self.tags[row], {}, draw, self.args)

    def length_of_text(self, row: int, epoch: int) -> int:
        """As the data set's."""
        return length_of(self.text(row, epoch))


def pools() -> tuple[list[str], list[str]]:
    """All words of the stand-ins' captions, and all their tags."""
    entries = toml.loads(CAPTIONS.read_text(encoding="utf-8")).values()
    words = [word for entry in entries for word in entry.get("caption", "").split()]
    return words, [tag for entry in entries for tag in entry.get("tags", "").split(", ") if tag]


def chunk_counts(dataset: Rows, tokenizers: list) -> np.ndarray:
    """Chunks of each row's text in the first epoch."""
    plugin = Plugin()
    return np.array(
        [len(plugin.chunks_of(dataset.text(row, 1), tokenizers[0])) for row in range(len(dataset.bucket))]
    )


def work(dataset: Rows, chunks: np.ndarray, batch_texts: str) -> tuple[int, float]:
    """Return (chunks that the encoders read in an epoch, CPU microseconds a batch to know its rows)."""
    places = Places(dataset, 0, 1, 1, {}, 0, AS_DRAWN, batch_texts)
    places.begin(0, 0)
    began = time.process_time()
    rows = [list(place.rows) for place in places]
    took = (time.process_time() - began) / len(rows) * 1e6
    return sum(len(some) * int(chunks[some].max()) for some in rows), took


def measured(rows: int, batch_size: int) -> dict[str, tuple[float, float, float, float]]:
    """Return {texts: (chunks a text alone, as drawn, like, microseconds a batch)} of each way to compose them."""
    tokenizers = Text("sdxl", str(tiny.standins()["tokenizers"]), None).tokenizers
    found = {}
    for name, policy in POLICIES.items():
        dataset = Rows(rows, batch_size, policy)
        chunks = chunk_counts(dataset, tokenizers)
        drawn, _ = work(dataset, chunks, AS_DRAWN)
        like, took = work(dataset, chunks, LIKE)
        found[name] = (chunks.sum() / rows, drawn / rows, like / rows, took)
    return found


def main(arguments: list[str]) -> int:
    """Count and print. The figures are no test: the exit code does not depend on them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=8000)
    parser.add_argument("--batch", type=int, default=4)
    asked = parser.parse_args(arguments)
    for name in ("rows", "batch"):
        if getattr(asked, name) < 2:
            raise UserError(f"--{name}={getattr(asked, name)}: give 2 or more")
    title = f"chunks a text that the encoders read, {asked.batch} images a batch, {asked.rows} texts"
    table = Table("texts", "least", "as drawn", "like", "saved", "us a batch", title=title)
    for name, (least, drawn, like, took) in measured(asked.rows, asked.batch).items():
        table.add_row(name, f"{least:.2f}", f"{drawn:.2f}", f"{like:.2f}", f"{1 - like / drawn:.0%}", f"{took:.0f}")
    Console(width=118).print(table)
    return 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
