"""Adapts the historical data set to upstream's `--dataset_class`; the reference trainer's, too.

Upstream's own fine-tuning data set ignores `train_resolution` at the pin, matches each image to its npz by
prefix (quadratic), and expects another npz layout. This one reads the historical layout as it is. One item
is one batch (upstream's loaders have batch size 1 and leave batching to the data set), so texts of a batch
are tokenized together and padded to the batch's own longest.

A trainer's own loader shuffles the numbers of the batches. The plugin resume_at_step asks for batches by
`Place` instead, whose rows it knows from `order.py`.
"""

import multiprocessing
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.data import held_out, index, store
from extensions.data.batches import Batches
from extensions.data.composing import composed, fields_read
from extensions.data.corrupt import Reader
from extensions.data.like_texts import length_of
from extensions.data.loader import Place, shared_memory
from extensions.data.metadata import Sample
from extensions.data.mixed_order import Mix
from extensions.data.mixture import Mixture
from extensions.data.order import EpochOrder, batch_count

# Flags of upstream's own data sets that change pixels or texts; here they would be ignored in silence.
NOT_HERE = (
    "alpha_mask", "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk",
    "caption_dropout_every_n_epochs", "caption_prefix", "caption_suffix", "caption_tag_dropout_rate", "color_aug",
    "dataset_config", "face_crop_aug_range", "flip_aug", "keep_tokens", "keep_tokens_separator", "masked_loss",
    "random_crop", "reg_data_dir", "secondary_separator", "shuffle_caption", "token_warmup_step",
)  # fmt: skip
TEXTS_DIFFER = "texts are drawn anew each epoch and encoded by encoders that may train"
INSTEAD = {
    "cache_text_encoder_outputs": TEXTS_DIFFER,
    "cache_text_encoder_outputs_to_disk": TEXTS_DIFFER,
    "caption_tag_dropout_rate": "the plugin {} has --dual_tag_drop_each_tag, which leaves the caption whole",
    "keep_tokens": "the plugin {} has --dual_tag_keep_first, which counts tags",
    "shuffle_caption": "the plugin {} has --dual_tag_shuffle, which leaves the caption whole",
}
# Upstream's flags for texts, and for images drawn meanwhile (by another cut of texts, another schedule, from clamped
# latents), which here are a plugin's to read.
OF_TEXTS = ("enable_wildcard", "caption_dropout_rate")
OF_SAMPLES = ("sample_prompts", "sample_at_first", "sample_every_n_steps", "sample_every_n_epochs")
# The flags of whoever passes over corrupt samples, and of whoever saves states.
PASSES, SAVES = "bad_sample", "states_every_n_steps"
ORDERS = "data_order"  # the flag of whoever asks for batches by their place


class Tokenizes(Protocol):
    """Upstream's TokenizeStrategy, or the reference trainer's `Text`."""

    def tokenize(self, texts: list[str]) -> Iterable[torch.Tensor]: ...


class LatentsDataset(torch.utils.data.Dataset):
    """The door to `Batches` for upstream's `--dataset_class`, and for the reference trainer.

    The constructor's arguments are what upstream passes; everything else comes from the run's flags
    (--in_json, --train_data_dir, --train_batch_size, --seed). UserError for metadata or latents that
    cannot be used, before any model is loaded.
    """

    def __init__(self, tokenizer, max_token_length, resolution, debug_dataset):
        self.args = args = manager.args()
        require_supported(args)
        self.metadata = index.open_for(args.in_json, Path(args.train_data_dir), fields_read(args))
        self.bucket, self.fingerprint = self.metadata.bucket, self.metadata.fingerprint
        if fields := self.metadata.fields_fingerprint:
            self.fingerprint += f" with {fields}"
        passed = manager.current().hook.corrupt_samples_passed(args=args) or 0
        opened = store.open_store(
            Path(args.train_data_dir), self.metadata, open_them=not (args.skip_cache_check or passed)
        )
        reader = Reader(opened, self.metadata, passed, way_on(args))
        self.batches = Batches(reader, self.text_of, self.token_ids)
        self.batches.outputs = manager.current().hook.text_outputs(args=args, index=self.metadata)
        if self.batches.outputs:
            self.fingerprint += f" with the texts of {self.batches.outputs.texts} epochs"
        self.batch_size, self.seed = args.train_batch_size, args.seed or 0
        self.hold_out()
        # Shared with workers that live for the whole run (--persistent_data_loader_workers).
        with shared_memory():
            self._epoch = multiprocessing.Value("q", 0)
        self.tokenize_strategy: Tokenizes | None = None  # the trainer's, before the first batch
        # What a trainer's own loader counts; at one image a batch a batch is a row.
        self.grouped = None
        if self.batch_size > 1 and self.mix is None:
            self.grouped = EpochOrder(self.bucket, self.batch_size, self.seed, 0, trained=self.trained)
        # Read by upstream's trainers and their log.
        self.datasets = [self]
        self.num_train_images = len(self.metadata) - len(self.held_out)
        self.num_reg_images = 0
        self.image_data = {}

    def hold_out(self) -> None:
        """Leave out of the training what a plugin holds out; other rows make other data."""
        out = manager.current().hook.held_out_rows(args=self.args, index=self.metadata)
        self.held_out = np.empty(0, np.int32) if out is None else out
        self.trained: np.ndarray | None = None
        if len(self.held_out):
            self.trained = held_out.trained(len(self.metadata), self.held_out)
            self.fingerprint += f" without {held_out.digest(self.held_out)}"
            self.batches.left_out = held_out.LeftOut((), self.held_out)
        kept = self.bucket if self.trained is None else self.bucket[self.trained]
        self.count = batch_count(kept, self.batch_size)
        self.mix: Mix | None = None
        if isinstance(self.metadata, Mixture):
            require_ordered(self.args)
            self.mix = Mix(self.metadata.sources, self.bucket, self.metadata.offsets, self.batch_size, self.trained)
            self.count = len(self.mix)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, wanted: int | Place) -> dict:
        """Return a batch by its place, or by the number that a trainer's own loader gives it."""
        return self.batches.at(wanted if isinstance(wanted, Place) else Place(self.epoch, self.rows_of(wanted)))

    @property
    def epoch(self) -> int:
        """The epoch that is read, counted from 1; 0 before the first."""
        return self._epoch.value

    def begin_epoch(self, epoch: int) -> None:
        """Called by the loop before it asks for the epoch's first batch. epoch: from 1."""
        self._epoch.value = epoch

    def order_is_known(self, left_out: frozenset[int]) -> None:
        """From now on batches are asked for by place: the numbering for other loaders is dropped.

        left_out: rows that must not be seen, not in a corrupt one's place either.
        """
        self.grouped, self.batches.left_out = None, held_out.LeftOut(left_out, self.held_out)

    def rows_of(self, number: int) -> tuple[int, ...]:
        """Return the rows of a batch that a trainer's own loader numbers."""
        if self.grouped is not None:
            return tuple(self.grouped.batch(number).tolist())
        return (number if self.trained is None else int(self.trained[number]),)

    def text_of(self, sample: Sample, epoch: int) -> str:
        """Return the text of a sample in an epoch, from 1; where encoders' outputs are read, the text they are of."""
        if self.batches.outputs:
            epoch = self.batches.outputs.epoch_of(epoch)
        draw = random.Random(f"{self.seed}:{epoch}:{sample.key}")
        return composed(self.args, sample, sample.caption, sample.tags, draw)

    def length_of_text(self, row: int, epoch: int) -> int:
        """Return the length of a row's text in an epoch, from 1, by which `order.py` makes batches of like ones."""
        return length_of(self.text_of(self.metadata[row], epoch))

    def token_ids(self, texts: list[str]) -> list[torch.Tensor]:
        """One int64 tensor (b, chunks, 77) a text encoder, by the trainer's tokenizers."""
        assert self.tokenize_strategy is not None
        return list(self.tokenize_strategy.tokenize(texts))

    # --- what upstream's trainers call ---

    def set_current_strategies(self) -> None:
        from library.strategy_base import TokenizeStrategy

        self.tokenize_strategy = TokenizeStrategy.get_strategy()

    def set_current_epoch(self, epoch: int) -> None:
        """Ignore it: upstream's collator tells it after the batch is made, one batch late; `begin_epoch` counts."""

    def set_current_step(self, step: int) -> None:
        """Ignore it: upstream's tag warm-up counts steps, and no policy here depends on them."""

    def set_max_train_steps(self, steps: int) -> None:
        """Ignore it, likewise."""

    def verify_bucket_reso_steps(self, steps: int) -> None:
        """Check nothing: the latents are made already, their sizes were checked when the metadata were read."""

    def is_latent_cacheable(self) -> bool:
        return True

    def is_text_encoder_output_cacheable(self, cache_supports_dropout: bool = False) -> bool:
        return False

    def new_cache_latents(self, vae, accelerator) -> None:
        """--cache_latents has nothing left to do: the latents are on disk."""


def require_supported(args) -> None:
    """Raise UserError for a flag that this data set would ignore."""
    for name in NOT_HERE:
        if getattr(args, name, None):
            hint = f": {INSTEAD[name].format(manager.reader_of(OF_TEXTS[0]))}" if name in INSTEAD else ""
            raise UserError(
                f"--{name} has no effect on cached latents (LatentsDataset){hint}; take it out of the launcher"
            )
    for name in (*OF_TEXTS, *OF_SAMPLES):
        if getattr(args, name, None) and manager.reader_of(name, manager.current().names) is None:
            owner = manager.reader_of(name)
            raise UserError(f"--{name} is read by the plugin {owner}; add {owner} to --extensions or drop the flag")
    for name in ("in_json", "train_data_dir"):
        if not getattr(args, name):
            raise UserError(f"--{name} is missing; LatentsDataset reads metadata and latents from files")


def require_ordered(args) -> None:
    """Raise UserError for a mixture whose batches nobody orders."""
    owner = manager.owner_of_flag(ORDERS)
    if owner not in manager.current().names:
        raise UserError(f"--in_json={args.in_json}: the plugin {owner} orders a mixture; add it to --extensions")


def way_on(args) -> str:
    """Return how a run that stops at a corrupt sample goes on, for the end of its line.

    Metadata without the id are other data, which an exact resume refuses. Up to the sample, skip reads what stop
    reads, and the plugin changes no weight.
    """
    names = manager.current().names
    owner = manager.owner_of_flag(PASSES)
    assert owner is not None  # a plugin of this package
    add = "" if hasattr(args, PASSES) else f"--extensions={','.join([*names, owner])} "
    flags = f'ARGS="{add}--{PASSES}=skip"'
    if not hasattr(args, SAVES):
        return f"{flags} trains another image in its place"
    return f"this run goes on exactly, with another image in its place, by RESUME=auto {flags}; not with other data"
