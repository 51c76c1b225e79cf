"""Makes the text encoders' outputs that a run reads instead of running them (make text-outputs).

By the reference trainer's encoders, which give what sd-scripts' give, one text at a time: products of a GPU and of a
CPU round by the shape of a batch, and at one image a batch this is the shape of the training.
"""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import torch

from extensions import manager
from extensions.base.errors import UserError
from extensions.data.outputs import made_with, write
from extensions.data.outputs.header import Pack
from extensions.flags import blend
from extensions.launch import batch
from extensions.launch.stages import Asked
from extensions.model.checkpoint import read_header
from extensions.model.cpu_products import ProductsInFloat32
from extensions.model.untrained import mapped
from extensions.reference import models
from extensions.reference.train import Training

FLAG = "text_outputs"


def make(asked: Asked) -> int:
    """Draw and encode `asked.text_variants` texts of each image of a run, and write them where it will look."""
    args, owner = batch.parsed(asked), manager.owner_of_flag(FLAG)
    plugins = manager.current()
    if owner not in plugins.names:
        raise UserError(
            f"train/{asked.run}.sh does not list {owner}: add it to --extensions, and --{FLAG}=<folder> (or in ARGS)"
        )
    if blend.is_blend(args.pretrained_model_name_or_path):
        raise UserError(f"{args.pretrained_model_name_or_path} is no file yet; make it (make blend), and name that")
    plugins.hook.check_arguments(args=args)
    folder, args.text_outputs = Path(args.text_outputs), None
    args.log_with, args.logging_dir, args.deepspeed = None, None, False  # nothing trains
    manager.set_args(args)
    maker = Maker(args, asked.settings.family)
    dtype = str(maker.training.dtype).removeprefix("torch.")
    index = maker.training.dataset.metadata
    with maker.products():
        maker.load()
        widths = maker.widths
        planned = Pack(
            widths, dtype, asked.text_variants, len(index), 1, maker.tokens_of(""), made_with.of_run(args, index)
        )
        write.make(folder, planned, maker.text_of, maker.encode, maker.tokens_of)
    print(f"text outputs: {folder}", flush=True)
    return 0


class Maker:
    """Composes and encodes the texts of a run."""

    def __init__(self, args, family: str):
        self.args, self.training = args, Training(args, family)
        self.encoders: list = []

    def load(self) -> None:
        """Read the encoders alone, as they are in a training that does not train them."""
        path, of = self.args.pretrained_model_name_or_path, self.training
        self.encoders = models.sdxl_encoders(read_header(path), mapped(path).__getitem__)
        for encoder in self.encoders:
            encoder.requires_grad_(False).eval().to(of.accelerator.device, of.dtype)

    @property
    def widths(self) -> tuple[int, int]:
        first, second = (encoder.config.hidden_size for encoder in self.encoders)
        return first, second

    def text_of(self, row: int, number: int) -> str:
        """Return the text of a row in the epoch of that number, from 0."""
        dataset = self.training.dataset
        return dataset.text_of(dataset.metadata[row], number + 1)

    def encode(self, text: str) -> list[torch.Tensor]:
        """Return [(1, tokens, d1), (1, tokens, d2), pooled (1, d2)]."""
        of = self.training
        ids = [each.to(of.accelerator.device) for each in of.dataset.token_ids([text])]
        with torch.no_grad():
            return of.text.encode(ids, self.encoders, self.encoders[1].text_projection)

    def tokens_of(self, text: str) -> int:
        """Return how many states a text has."""
        _, chunks, length = self.training.dataset.token_ids([text])[0].shape
        ruled = getattr(self.args, "token_chunks", "upstream") != "upstream"
        return chunks * length if ruled else chunks * (length - 2) + 2

    def products(self):
        """Compute bf16 as the run will, on a processor without its units."""
        lists = [getattr(manager.declared(name), "makes_up_for", "") for name in manager.current().names]
        on_cpu = self.training.accelerator.device.type == "cpu"
        return ProductsInFloat32() if on_cpu and "bf16 units" in lists else nullcontext()
