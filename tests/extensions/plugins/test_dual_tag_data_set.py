"""Texts over a data set: another one each epoch, whatever the workers, the processes and the place of the start."""

import types

import pytest
import torch
from accelerate.data_loader import prepare_data_loader

from extensions import manager
from extensions.data.dataset import LatentsDataset
from tests.helpers.dual_tag_cases import ALL_DRAWS, flags


@pytest.fixture
def dataset(standins, monkeypatch):
    """The stand-in photographs under dual_tag with every draw on; texts only."""
    monkeypatch.setattr(manager, "_current", manager.Manager(["dual_tag"]))
    where = {"in_json": standins["meta_sdxl"], "train_data_dir": standins["data_sdxl"]}
    args = flags(**ALL_DRAWS, **where, skip_cache_check=True, train_batch_size=2, seed=5)
    monkeypatch.setattr(manager, "_args", args)
    made = LatentsDataset(None, None, None, False)
    made.tokenize_strategy = types.SimpleNamespace(tokenize=lambda texts: [])
    return made


def loader(dataset, workers, shuffle=True):
    return torch.utils.data.DataLoader(
        dataset, batch_size=1, shuffle=shuffle, collate_fn=lambda items: items[0], num_workers=workers,
        persistent_workers=workers > 0,
    )  # fmt: skip


def texts_of(batches) -> dict[str, str]:
    return {key: text for batch in batches for key, text in zip(batch["image_keys"], batch["captions"], strict=True)}


def epochs(dataset, loader) -> list[dict[str, str]]:
    found = []
    for epoch in (1, 2, 3):
        dataset.begin_epoch(epoch)
        found.append(texts_of(loader))
    return found


def test_texts_change_by_epoch_and_not_by_workers(dataset):
    alone = epochs(dataset, loader(dataset, 0))
    assert epochs(dataset, loader(dataset, 2)) == alone
    assert all(len(texts) == len(dataset.metadata) for texts in alone)
    assert all(sum(a[key] != b[key] for key in a) > len(a) / 2 for a, b in zip(alone, alone[1:], strict=False))


@pytest.mark.parametrize("processes", [2, 3])
def test_texts_do_not_depend_on_the_processes(dataset, processes):
    wanted = epochs(dataset, loader(dataset, 0))
    options = {"num_processes": processes, "put_on_device": False}
    ranks = [
        prepare_data_loader(loader(dataset, 0, shuffle=False), process_index=rank, **options)
        for rank in range(processes)
    ]
    for epoch, texts in enumerate(wanted, start=1):
        dataset.begin_epoch(epoch)
        apart = [texts_of(rank) for rank in ranks]
        assert all(0 < len(mine) < len(texts) for mine in apart)
        assert all(texts[key] == text for mine in apart for key, text in mine.items())
        assert set().union(*apart) == set(texts)


def test_texts_survive_a_start_in_the_middle_and_follow_the_seed(dataset):
    _, wanted, _ = epochs(dataset, loader(dataset, 0))
    dataset.begin_epoch(2)
    later = texts_of(dataset[index] for index in range(5, len(dataset)))
    assert later and all(wanted[key] == text for key, text in later.items())
    dataset.seed = 6
    other = texts_of(dataset[index] for index in range(len(dataset)))
    assert sum(other[key] != text for key, text in wanted.items()) > len(wanted) / 2
