"""Reports what became of a run's texts: how many were cut, the tokens that were lost, the chunks that were used.

Texts are tokenized in the data loader's forked workers, which live for an epoch or for the whole run; a few
integers in shared memory outlive them all, whatever the number of texts. Each process of several counts and
tells its own: to add them up would mean waiting for a process that may have failed.
"""

import multiprocessing

MOST = 12  # the last bar of the histogram: so many chunks and more
TOTALS = ("texts", "cut", "tokens", "lost")
WIDTH = 40  # characters of the longest bar


class Counts:
    """Counts of one process and its workers, 8 bytes each."""

    def __init__(self):
        self.shared = multiprocessing.Array("q", len(TOTALS) + MOST)

    def add(self, texts: list[tuple[int, int, int]]) -> None:
        """Count a batch: (chunks that hold tokens, tokens before the cut, tokens lost by it) of each text."""
        with self.shared.get_lock():
            for chunks, tokens, lost in texts:
                for place, value in enumerate((1, lost > 0, tokens, lost)):
                    self.shared[place] += value
                self.shared[len(TOTALS) + min(chunks, MOST) - 1] += 1

    def read(self) -> tuple[dict[str, int], list[int]]:
        """Return ({total: value}, texts with 1, 2, … chunks).

        Takes no lock: a worker may have died while it held it.
        """
        values = list(self.shared.get_obj())
        return dict(zip(TOTALS, values, strict=False)), values[len(TOTALS) :]

    def lines(self, process: int, processes: int) -> list[str]:
        """Return the report; no line where no text was read."""
        totals, histogram = self.read()
        if not totals["texts"]:
            return []
        share = totals["lost"] / max(1, totals["tokens"])
        who = f" on process {process} of {processes}" if processes > 1 else ""
        head = (
            f"{totals['texts']:,} texts read{who}, {totals['cut']:,} cut; "
            f"{totals['lost']:,} of {totals['tokens']:,} tokens lost ({share:.1%}); chunks used:"
        )
        return [head, *bars(histogram)]


def bars(histogram: list[int]) -> list[str]:
    """One line for each number of chunks up to the greatest that was used."""
    last = max(place for place, count in enumerate(histogram) if count)
    return [bar(place + 1, count, histogram) for place, count in enumerate(histogram[: last + 1])]


def bar(chunks: int, count: int, histogram: list[int]) -> str:
    """ "   2 chunks  1,234  20.1%  ######"."""
    name = f"{chunks}{'+' if chunks == MOST else ''} chunk{'s' if chunks > 1 else ' '}"
    length = round(WIDTH * count / max(histogram)) or int(count > 0)
    return f"{name:>12} {count:>12,} {count / sum(histogram):>6.1%}  {'#' * length}".rstrip()
