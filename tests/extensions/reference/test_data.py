"""Batches come in the order of PyTorch's own shuffle, alike on every process; a wrong data set is one line."""

import argparse
import os
from types import SimpleNamespace

import pytest
import torch
from accelerate.data_loader import prepare_data_loader
from accelerate.state import GradientState, PartialState
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from extensions import manager
from extensions.base.errors import UserError
from extensions.reference import data

ONE = SimpleNamespace(num_processes=1, process_index=0)


class Numbers(torch.utils.data.Dataset):
    """A data set of so many items; the constructor's arguments are upstream's."""

    def __init__(self, *constructor, length=0):
        self.constructor, self.length = constructor, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        return index


class Ten(Numbers):
    def __init__(self, *constructor):
        super().__init__(*constructor, length=10)


def flags(**given):
    defaults = {"max_data_loader_n_workers": 0, "persistent_data_loader_workers": False, "deepspeed": False}
    return argparse.Namespace(**defaults | given)


@settings(max_examples=30)
@given(length=st.integers(1, 200), seed=st.integers(0, 2**31))
def test_the_order_is_torchs_own_shuffle_over_two_epochs(length, seed):
    """torch.randn between two batches stands for the noise: the loaders' own draws must be the same, too."""
    made, orders, noises = Numbers(length=length), [], []
    for loader in (
        DataLoader(made, batch_size=1, shuffle=True, collate_fn=data.only),
        data.loader(flags(), made, ONE),
    ):
        torch.manual_seed(seed)
        seen = [((epoch, item), torch.randn(1).item()) for epoch in range(2) for item in loader]
        orders.append([place for place, _ in seen])
        noises.append([noise for _, noise in seen])
    assert orders[0] == orders[1] and noises[0] == noises[1]
    for epoch in range(2):
        assert sorted(item for number, item in orders[1] if number == epoch) == list(range(length))


def test_orders_differ_from_epoch_to_epoch():
    sampler = data.Shuffled(100, ONE)
    first, second = list(sampler), list(sampler)
    assert first != second and sorted(first) == sorted(second) == list(range(100)) and len(sampler) == 100
    assert {type(index) for index in first} == {int}


def test_every_process_takes_the_order_of_process_zero(monkeypatch):
    sent = []

    def broadcast(objects):
        """The first caller is process 0."""
        sent.extend(objects if not sent else [])
        objects[0] = sent[0]

    monkeypatch.setattr(data, "broadcast_object_list", broadcast)
    orders = []
    for process in range(3):
        torch.manual_seed(process)
        orders.append(list(data.Shuffled(50, SimpleNamespace(num_processes=3, process_index=process))))
    torch.manual_seed(0)
    assert orders == [list(data.Shuffled(50, ONE))] * 3


@pytest.mark.parametrize("length", [8, 9])
def test_processes_share_one_order_through_accelerate(length, monkeypatch):
    """n batches at a time; where n does not divide them, accelerate begins again."""
    for state in (PartialState, GradientState):  # one a process: what this test puts there must not last
        monkeypatch.setattr(state, "_shared_state", {})
    monkeypatch.setattr(data, "broadcast_object_list", lambda objects: None)
    torch.manual_seed(1)
    order = list(data.loader(flags(), Numbers(length=length), ONE))
    for process in range(2):
        accelerator = SimpleNamespace(num_processes=2, process_index=process)
        loader = data.loader(flags(), Numbers(length=length), accelerator)
        shard = prepare_data_loader(loader, num_processes=2, process_index=process, put_on_device=False)
        torch.manual_seed(1)
        seen = list(shard)
        assert seen == (order * 2)[process::2][: len(seen)] and len(seen) == len(shard) == -(-length // 2)


def test_the_class_is_constructed_as_upstream_does():
    made = data.dataset(flags(dataset_class=f"{__name__}.Ten", in_json="x.json"))
    assert type(made).__name__ == "Ten" and made.constructor == (None, None, None, False)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module.Class", "no_such_module"),
        ("extensions.data.dataset.NoSuch", "NoSuch"),
        ("Bare", "--dataset_class=Bare.*give module.Class"),
        (f"{__name__}.Numbers", "--in_json=x.json: no images"),
    ],
)
def test_a_data_set_that_cannot_be_used_is_one_line(name, message):
    with pytest.raises(UserError, match=message) as caught:
        data.dataset(flags(dataset_class=name, in_json="x.json"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("asked", "cores", "workers"),
    [(0, 8, 0), (2, 8, 2), (8, 2, 2), (8, None, 1)],
)
@pytest.mark.parametrize("deepspeed", [False, True])
def test_workers(asked, cores, workers, deepspeed, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    args = flags(max_data_loader_n_workers=asked, deepspeed=deepspeed, persistent_data_loader_workers=True)
    made = data.loader(args, Ten(), ONE)
    assert (made.num_workers, made.persistent_workers, made.batch_size) == (workers, workers > 0, 1)


def test_an_item_of_the_historical_data_set_is_a_batch(standins, monkeypatch):
    from extensions.reference.text import Text

    args = flags(
        dataset_class="extensions.data.dataset.LatentsDataset", in_json=str(standins["meta_sdxl"]), seed=3,
        train_data_dir=str(standins["data_sdxl"]), train_batch_size=2, skip_cache_check=True, enable_wildcard=False,
        caption_separator=",",
    )  # fmt: skip
    monkeypatch.setattr(manager, "_args", args)
    made = data.dataset(args)
    made.tokenize_strategy = Text("sdxl", str(standins["tokenizers"]), None)
    batches = list(data.loader(args, made, ONE))
    assert len(batches) == len(made)
    assert sum(len(batch["latents"]) for batch in batches) == made.num_train_images
    for batch in batches:
        size = len(batch["latents"])
        assert [ids.shape for ids in batch["input_ids_list"]] == [(size, 1, 77)] * 2
        assert batch["latents"].shape[2:] == tuple(batch["target_sizes_hw"][0] // 8)
