"""Counts of texts survive workers of either kind, stay as small as they are, and are read without waiting."""

import multiprocessing
import os

import pytest
import torch

from extensions.text.chunk_report import MOST, Counts

TEXTS = [(1, 10, 0), (2, 100, 0), (2, 150, 25), (MOST, 900, 0), (MOST + 40, 4000, 0)]


class Counting(torch.utils.data.Dataset):
    """Counts text i when it is read, as the plugin does."""

    def __init__(self, counts):
        self.counts = counts

    def __len__(self):
        return 60

    def __getitem__(self, index):
        self.counts.add([TEXTS[index % len(TEXTS)]])
        return index


@pytest.mark.parametrize(("workers", "stay"), [(0, False), (2, False), (2, True)])
def test_every_text_is_counted_once_whoever_reads_it(workers, stay):
    counts, epochs = Counts(), 3
    loader = torch.utils.data.DataLoader(Counting(counts), num_workers=workers, persistent_workers=stay)
    for _ in range(epochs):
        list(loader)
    totals, histogram = counts.read()
    times = epochs * 60 // len(TEXTS)
    assert totals == {"texts": 5 * times, "cut": times, "tokens": 5160 * times, "lost": 25 * times}
    assert (histogram[0], histogram[1], histogram[MOST - 1]) == (times, 2 * times, 2 * times)
    assert sum(histogram) == totals["texts"]


def test_it_does_not_grow():
    counts = Counts()
    before = len(counts.shared)
    counts.add([(10**6, 75 * 10**6, 0)])
    assert len(counts.shared) == before and counts.read()[1][-1] == 1


def test_counts_of_a_run_of_months_fit():
    counts = Counts()
    counts.shared[2] = 12_446_600 * 10 * 250  # tokens: ten epochs of the large set
    counts.add([(1, 75, 0)])
    assert counts.read()[0]["tokens"] == 12_446_600 * 2500 + 75


def die_with_the_lock(counts):
    counts.shared.get_lock().acquire()
    os._exit(9)


def test_a_worker_that_died_while_counting_does_not_keep_the_report_back():
    counts = Counts()
    counts.add(TEXTS)
    fork = multiprocessing.get_context("fork")
    dead = fork.Process(target=die_with_the_lock, args=(counts,))
    dead.start()
    dead.join(20)
    assert dead.exitcode == 9
    reader = fork.Process(target=lambda: os._exit(0 if counts.lines(0, 1) else 1))
    reader.start()
    reader.join(20)
    reader.kill()
    assert reader.exitcode == 0


def test_lines():
    counts = Counts()
    counts.add(TEXTS)
    head, *bars = counts.lines(0, 1)
    assert head == "5 texts read, 1 cut; 25 of 5,160 tokens lost (0.5%); chunks used:"
    assert len(bars) == MOST
    assert bars[1].split() == ["2", "chunks", "2", "40.0%", "#" * 40]
    assert bars[2].split() == ["3", "chunks", "0", "0.0%"]
    assert bars[-1].split() == [f"{MOST}+", "chunks", "2", "40.0%", "#" * 40]
