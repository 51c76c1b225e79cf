"""The data set: what it refuses, what it reads, by number and by place."""

import argparse
import pickle
import random
import tempfile
import types
from multiprocessing.reduction import ForkingPickler

import pytest
import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.data.batches import Batch
from extensions.data.dataset import NOT_HERE, LatentsDataset, require_supported, way_on
from extensions.data.latents import CorruptSample
from extensions.data.loader import Place
from extensions.data.pack import make
from extensions.hookspecs import hookimpl
from tests.helpers.plugin_flags import parsed


def given_flags(**flags):
    return argparse.Namespace(**{"enable_wildcard": False, "in_json": "a", "train_data_dir": "b"} | flags)


@pytest.fixture
def with_dual_tag():
    manager.install(["dual_tag"])


def test_flags_that_would_be_ignored_are_refused(with_dual_tag):
    require_supported(given_flags(enable_wildcard=True, keep_tokens=0))
    for flag in NOT_HERE:
        with pytest.raises(UserError, match=f"--{flag} ") as caught:
            require_supported(given_flags(**{flag: 1}))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("flag", "own"),
    [
        ("shuffle_caption", "dual_tag_shuffle"),
        ("keep_tokens", "dual_tag_keep_first"),
        ("caption_tag_dropout_rate", "dual_tag_drop_each_tag"),
    ],
)
def test_where_dual_tag_has_its_own_flag_it_is_named(flag, own):
    assert hasattr(parsed("dual_tag"), own)
    with pytest.raises(UserError, match=f"the plugin dual_tag has --{own}"):
        require_supported(given_flags(**{flag: 1}))


@pytest.mark.parametrize("flag", ["cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk"])
def test_cached_text_encoder_outputs_would_freeze_what_is_drawn(flag, with_dual_tag):
    with pytest.raises(UserError, match=f"--{flag} has no effect.*drawn anew each epoch"):
        require_supported(given_flags(**{flag: True}))


@pytest.mark.parametrize("flags", [{"enable_wildcard": True}, {"caption_dropout_rate": 0.1}])
def test_what_dual_tag_reads_needs_dual_tag(flags):
    with pytest.raises(UserError, match="read by the plugin dual_tag; add dual_tag to --extensions"):
        require_supported(given_flags(**flags))
    manager.install(["dual_tag"])
    require_supported(given_flags(**flags))


@pytest.mark.parametrize("flags", [{"in_json": None}, {"train_data_dir": None}])
def test_flags_that_need_something_else(flags):
    with pytest.raises(UserError, match=f"--{next(iter(flags))} is missing"):
        require_supported(given_flags(**flags))


@pytest.mark.parametrize(
    ("plugins", "words"),
    [
        ("dual_tag,resume_at_step,save_states,bad_sample", 'RESUME=auto ARGS="--bad_sample=skip"'),
        (
            "resume_at_step,save_states,cpu_bf16",
            'RESUME=auto ARGS="--extensions=resume_at_step,save_states,cpu_bf16,bad_sample --bad_sample=skip"',
        ),
        ("", 'ARGS="--extensions=bad_sample --bad_sample=skip"'),
    ],
)
def test_the_way_on_has_the_words_to_give(plugins, words):
    manager.install(manager.listed(plugins))
    said = way_on(parsed(plugins))
    assert words in said and ("RESUME" in said) == ("exactly" in said) == ("save_states" in plugins)


class Draws:
    """A plugin that answers with the first draw of each sample."""

    @hookimpl
    def compose_text(self, draw):
        return str(draw.random())


def opened(standins, monkeypatch):
    """The stand-in set in batches of up to four, its texts composed by `Draws`."""
    made = manager.Manager()
    made.register("draws", Draws())
    monkeypatch.setattr(manager, "_current", made)
    args = argparse.Namespace(
        in_json=standins["meta_sdxl"], train_data_dir=standins["data_sdxl"], skip_cache_check=True,
        train_batch_size=4, seed=1, enable_wildcard=False, caption_separator=",",
    )  # fmt: skip
    monkeypatch.setattr(manager, "_args", args)
    dataset = LatentsDataset(None, None, None, False)
    dataset.tokenize_strategy = types.SimpleNamespace(tokenize=lambda texts: [])
    return dataset


def test_every_batch_of_an_epoch_draws_by_that_epoch_in_workers_that_stay(standins, monkeypatch):
    """Upstream's collator tells the epoch after a batch is made; persistent workers would be one batch late."""
    dataset = opened(standins, monkeypatch)
    loader = torch.utils.data.DataLoader(
        dataset, batch_size=1, collate_fn=lambda items: items[0], num_workers=2, persistent_workers=True
    )
    for epoch in (1, 2, 3):
        dataset.begin_epoch(epoch)
        for batch in loader:
            wanted = [str(random.Random(f"1:{epoch}:{key}").random()) for key in batch["image_keys"]]
            assert batch["captions"] == wanted


def test_a_place_names_its_rows_and_the_epoch_of_its_draws(standins, monkeypatch):
    dataset = opened(standins, monkeypatch)
    dataset.begin_epoch(5)
    batch = dataset[Place(2, (3, 7))]
    assert batch["image_keys"] == [dataset.metadata[row].key for row in (3, 7)]
    assert batch["captions"] == [str(random.Random(f"1:2:{key}").random()) for key in batch["image_keys"]]
    by_number = dataset[0]
    assert by_number["captions"] == [str(random.Random(f"1:5:{key}").random()) for key in by_number["image_keys"]]


def data_set_of(monkeypatch, meta, data, plugins="", *words):
    """A data set over a folder of latents, in batches of three, and the flags of these plugins."""
    manager.install(manager.listed(plugins))
    args = parsed(
        plugins, *words, in_json=meta, train_data_dir=data, skip_cache_check=False, train_batch_size=3, seed=1,
        enable_wildcard=False, caption_separator=",",
    )  # fmt: skip
    monkeypatch.setattr(manager, "_args", args)
    dataset = LatentsDataset(None, None, None, False)
    dataset.tokenize_strategy = types.SimpleNamespace(tokenize=lambda texts: [])
    return dataset


def test_a_pack_gives_the_batches_of_its_npz(data_set, monkeypatch):
    make.make(data_set.index, make.Wish(data_set.data, data_set.folder / "pack"), 1)
    plain = data_set_of(monkeypatch, data_set.meta, data_set.data)
    packed = data_set_of(monkeypatch, data_set.meta, data_set.folder / "pack")
    for number in range(len(plain)):
        one, other = plain[number], packed[number]
        for name, value in one.items():
            assert torch.equal(value, other[name]) if torch.is_tensor(value) else value == other[name]


def test_a_corrupt_sample_is_replaced_with_its_texts_and_named(data_set, monkeypatch):
    (data_set.data / "id4.npz").write_bytes(b"broken")
    with pytest.raises(CorruptSample, match="id4"):
        data_set_of(monkeypatch, data_set.meta, data_set.data)
    with pytest.raises(CorruptSample, match="id4"):
        data_set_of(monkeypatch, data_set.meta, data_set.data, "bad_sample", "--bad_sample=stop")
    dataset = data_set_of(monkeypatch, data_set.meta, data_set.data, "bad_sample", "--bad_sample=skip")
    batches = [dataset[number] for number in range(len(dataset))]
    keys = [key for batch in batches for key in batch["image_keys"]]
    assert sorted(keys) == sorted([f"id{number}" for number in range(12) if number != 4] + ["id7"])
    skipped = [batch for batch in batches if batch["skipped_keys"]]
    assert [batch["skipped_keys"] for batch in skipped] == [["id4"]]
    assert "id4.npz is corrupt" in skipped[0]["skipped_reasons"][0]
    for batch in batches:
        assert batch["captions"] == [f"A.,tag{key[2:]}" for key in batch["image_keys"]]
        assert batch["crop_top_lefts"][:, 1].tolist() == [int(key[2:]) for key in batch["image_keys"]]


@pytest.mark.upstream
def test_every_refused_flag_is_one_of_upstreams(patched):
    import sdxl_train

    known = {action.dest for action in sdxl_train.setup_parser()._actions}
    assert set(NOT_HERE) - known == set()


def test_a_batch_comes_from_a_worker_by_value():
    """To the bit, and by no file of /dev/shm, whose descriptor PyTorch hands over by a socket in TMPDIR."""
    nan = torch.tensor([0x7FC12345, 1], dtype=torch.int32).view(torch.float32)
    made = Batch(latents=torch.rand(2, 4, 8, 6), input_ids_list=[torch.arange(6).view(2, 3), torch.zeros(0, 77)],
                 loss_weights=nan, images=None, captions=["a", "é\udc80"], skipped_keys=[])  # fmt: skip
    packed = bytes(ForkingPickler.dumps(made))
    assert b"rebuild" not in packed and b"DupFd" not in packed
    found = pickle.loads(packed)
    assert type(found) is Batch and list(found) == list(made)
    for name in ("latents", "loss_weights"):
        assert found[name].numpy().tobytes() == made[name].numpy().tobytes() and found[name].dtype == made[name].dtype
    pairs = zip(found["input_ids_list"], made["input_ids_list"], strict=True)
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in pairs)
    assert [found[name] for name in ("images", "captions", "skipped_keys")] == [None, ["a", "é\udc80"], []]
    found["latents"] += 1  # it is the trainer's own


def test_what_a_worker_makes_needs_no_temporary_folder(monkeypatch, tmp_path):
    """Where TMPDIR takes nothing, PyTorch's way would lose the batch, and its reader wait for ever."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    batches = [Batch(latents=torch.full((1, 4, 8, 8), float(number))) for number in range(5)]
    read = torch.utils.data.DataLoader(batches, batch_size=None, num_workers=1, timeout=60)
    assert [float(each["latents"].mean()) for each in read] == [0, 1, 2, 3, 4]
