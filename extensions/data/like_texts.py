"""Puts texts of like length into the same batch (--batch_texts=like).

In a batch all texts get as many chunks as the longest: with four images a batch, texts of one chunk are encoded as if
they had three or four. Here the images of a bucket, in their shuffled order, are taken a window at a time; within a
window they are sorted by the length of their texts of this epoch, and only then cut into batches. A window is a
fixed piece of the epoch's order, so that any batch is found by looking at one window, and which images of a bucket
meet stays drawn up to the window's size.

The length is the number of words, digits and signs, which is nearly the number of CLIP's tokens and needs no
tokenizer. It is that of the text as composed for this epoch; the batches stay a function of the run's flags, seed,
epoch and data.

It is another training than with batches as drawn: the texts of a batch are alike in length. The effect on what is
learned was not measured.
"""

import re
from collections.abc import Callable

import numpy as np

from extensions import manager
from extensions.base.errors import UserError
from extensions.data import sources

AS_DRAWN, LIKE = "as_drawn", "like"  # --batch_texts
ONE_LENGTH = "upstream"  # the rule of texts by which each has --max_token_length
WINDOW = 32  # batches
PIECE = re.compile(r"[^\W\d_]+|\d|[^\w\s]+|_+")


def length_of(text: str) -> int:
    """Count the words, digits and signs of a text: what CLIP's tokenizer takes for itself before it divides words."""
    return len(PIECE.findall(text))


def require_use(args, config) -> None:
    """Raise UserError where batches of like texts are asked for, and would be those of any texts, or cost as much.

    args: the parsed flags; config: the `Settings` that they mean.
    """
    if args.batch_texts != LIKE:
        return
    if config.batch_size == 1:
        raise UserError("--batch_texts=like has nothing to choose at --train_batch_size=1; drop it")
    if sources.is_mixture(args.in_json):
        raise UserError("--batch_texts=like orders one set, not a mixture; drop it")
    if config.token_rule == ONE_LENGTH:
        owner = manager.owner_of_flag("token_chunks")
        raise UserError(
            f"--batch_texts=like saves nothing where every text has --max_token_length; drop it, or let {owner} cut "
            "texts (--token_chunks=a1111)"
        )


class LikeTexts:
    """The rows of an epoch, grouped by bucket, sorted by the length of their texts within each window.

    rows: int32 (n,), grouped by bucket. ends: where each bucket ends in them. length(row): of its text in this epoch.
    A window is sorted when it is first asked for, and kept: 4 bytes a row.
    """

    def __init__(self, rows: np.ndarray, ends: np.ndarray, batch_size: int, length: Callable[[int], int]):
        self.rows, self.ends, self.length = rows.copy(), ends, length
        self.window = WINDOW * batch_size
        self.done: set[int] = set()  # where the windows begin that are sorted

    def between(self, start: int, stop: int) -> np.ndarray:
        """Return the rows at these places, which lie in one window."""
        number = int(np.searchsorted(self.ends, start, side="right"))
        low = int(self.ends[number - 1]) if number else 0
        first = low + (start - low) // self.window * self.window
        if first not in self.done:
            some = self.rows[first : min(first + self.window, int(self.ends[number]))]
            lengths = np.array([self.length(row) for row in some.tolist()])
            some[:] = some[np.argsort(lengths, kind="stable")]
            self.done.add(first)
        return self.rows[start:stop]
