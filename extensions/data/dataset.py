"""The historical data set, through upstream's `--dataset_class` door; the reference trainer's, too.

Upstream's own fine-tuning data set ignores `train_resolution` at the pin, matches each image to its npz by
prefix (quadratic), and expects another npz layout. This one reads the historical layout as it is. One item
is one batch (upstream's loaders have batch size 1 and leave batching to the data set), so texts of a batch
are tokenized together and padded to the batch's own longest.

A trainer's own loader shuffles the numbers of the batches. The plugin resume_at_step asks for batches by
`Place` instead, whose rows it knows from `order.py`.
"""

import multiprocessing
import random
from pathlib import Path

import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.data import index, store
from extensions.data.corrupt import Reader, tries, way_on
from extensions.data.loader import Place
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
    "caption_tag_dropout_rate": "the plugin dual_tag has --dual_tag_drop_each_tag, which leaves the caption whole",
    "keep_tokens": "the plugin dual_tag has --dual_tag_keep_first, which counts tags",
    "shuffle_caption": "the plugin dual_tag has --dual_tag_shuffle, which leaves the caption whole",
}
# Upstream's flags that the plugin dual_tag reads with upstream's meaning.
OF_DUAL_TAG = ("enable_wildcard", "caption_dropout_rate")


class LatentsDataset(torch.utils.data.Dataset):
    """Batches of cached latents with their texts.

    The constructor's arguments are what upstream passes; everything else comes from the run's flags
    (--in_json, --train_data_dir, --train_batch_size, --seed). UserError for metadata or latents that
    cannot be used, before any model is loaded.
    """

    def __init__(self, tokenizer, max_token_length, resolution, debug_dataset):
        self.args = manager.args()
        require_supported(self.args, manager.current().names)
        self.folder = Path(self.args.train_data_dir)
        self.metadata = index.open_for(self.args.in_json, self.folder)
        self.bucket, self.fingerprint = self.metadata.bucket, self.metadata.fingerprint
        replaced = tries(self.args)
        opened = store.open_store(self.folder, self.metadata, open_them=not (self.args.skip_cache_check or replaced))
        self.reader = Reader(opened, self.metadata, replaced, way_on(manager.current().names))
        self.left_out: frozenset[int] = frozenset()  # rows that take no corrupt one's place
        self.batch_size = self.args.train_batch_size
        self.seed = self.args.seed or 0
        # Shared with workers that live for the whole run (--persistent_data_loader_workers).
        self._epoch = multiprocessing.Value("q", 0)
        self.tokenize_strategy = None
        # What a trainer's own loader counts; at one image a batch a batch is a row.
        self.grouped = EpochOrder(self.bucket, self.batch_size, self.seed, 0) if self.batch_size > 1 else None
        # Read by upstream's trainers and their log.
        self.datasets = [self]
        self.num_train_images = len(self.metadata)
        self.num_reg_images = 0
        self.image_data = {}

    @property
    def epoch(self) -> int:
        """The epoch that is read, counted from 1; 0 before the first."""
        return self._epoch.value

    def begin_epoch(self, epoch: int) -> None:
        """Called by the loop before it asks for the epoch's first batch."""
        self._epoch.value = epoch

    def __len__(self) -> int:
        return batch_count(self.bucket, self.batch_size)

    def __getitem__(self, wanted: int | Place) -> dict:
        """One batch: latents float32 (b, 4, h/8, w/8), token ids, sizes int64 (b, 2) as (h, w)."""
        place = wanted if isinstance(wanted, Place) else Place(self.epoch, self.rows_of(wanted))
        read = [self.reader.read(row, self.left_out) for row in place.rows]
        samples, cached = [one.sample for one in read], [one.latents for one in read]
        skipped = [each for one in read for each in one.skipped]
        texts = [self.text_of(sample, place.epoch) for sample in samples]
        return {
            "latents": torch.stack([torch.from_numpy(item.latents) for item in cached]),
            "images": None,
            "captions": texts,
            "input_ids_list": self.token_ids(texts),
            "text_encoder_outputs_list": None,
            "loss_weights": torch.ones(len(samples)),
            "original_sizes_hw": torch.tensor([item.original_size[::-1] for item in cached]),
            "crop_top_lefts": torch.tensor([item.crop[::-1] for item in cached]),
            "target_sizes_hw": torch.tensor([(s.height, s.width) for s in samples]),
            "alpha_masks": None,
            "image_keys": [sample.key for sample in samples],
            # Corrupt, and replaced by others of their bucket: for the plugin bad_sample.
            "skipped_keys": [key for key, _ in skipped],
            "skipped_reasons": [reason for _, reason in skipped],
        }

    def rows_of(self, index: int) -> tuple[int, ...]:
        """The rows of a batch that a trainer's own loader numbers."""
        return (index,) if self.grouped is None else tuple(self.grouped.batch(index).tolist())

    def text_of(self, sample, epoch: int) -> str:
        """What a plugin composes; without one caption and tags joined, as upstream does. epoch: from 1."""
        draw = random.Random(f"{self.seed}:{epoch}:{sample.key}")
        text = manager.current().hook.compose_text(
            caption=sample.caption, tags=sample.tags, key=sample.key, draw=draw, args=self.args
        )
        if text is not None:
            return text
        return self.args.caption_separator.join(part for part in (sample.caption, sample.tags) if part)

    def token_ids(self, texts: list[str]) -> list[torch.Tensor]:
        """One int64 tensor (b, chunks, 77) a text encoder."""
        return list(self.tokenize_strategy.tokenize(texts))

    # --- what upstream's trainers call ---

    def set_current_strategies(self) -> None:
        from library.strategy_base import TokenizeStrategy

        self.tokenize_strategy = TokenizeStrategy.get_strategy()

    def set_current_epoch(self, epoch: int) -> None:
        """Upstream's collator tells it after the batch is made, one batch late: `begin_epoch` counts."""

    def set_current_step(self, step: int) -> None:
        """Upstream's tag warm-up counts steps; no policy here depends on them."""

    def set_max_train_steps(self, steps: int) -> None:
        """The same."""

    def verify_bucket_reso_steps(self, steps: int) -> None:
        """The latents are made already: their sizes were checked when the metadata were read."""

    def is_latent_cacheable(self) -> bool:
        return True

    def is_text_encoder_output_cacheable(self, cache_supports_dropout: bool = False) -> bool:
        return False

    def new_cache_latents(self, vae, accelerator) -> None:
        """--cache_latents has nothing left to do: the latents are on disk."""


def require_supported(args, plugins: list[str]) -> None:
    """UserError for a flag that this data set would ignore."""
    for name in NOT_HERE:
        if getattr(args, name, None):
            hint = f": {INSTEAD[name]}" if name in INSTEAD else ""
            raise UserError(
                f"--{name} has no effect on cached latents (LatentsDataset){hint}; take it out of the launcher"
            )
    for name in OF_DUAL_TAG:
        if getattr(args, name, None) and "dual_tag" not in plugins:
            raise UserError(f"--{name} is read by the plugin dual_tag; add dual_tag to --extensions or drop the flag")
    for name in ("in_json", "train_data_dir"):
        if not getattr(args, name):
            raise UserError(f"--{name} is missing; LatentsDataset reads metadata and latents from files")
