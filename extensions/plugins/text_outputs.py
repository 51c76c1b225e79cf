"""Reads the text encoders' outputs from a pack instead of running the encoders, where none of them trains.

    make text-outputs RUN=… VARIANTS=n      draws n texts of each image, encodes them, writes --text_outputs=FOLDER

Text k of an image is the one of epoch k; epoch n + 1 has those of the first again. With as many texts as epochs, at
one image a batch and on the kind of device that made the pack, training is the same to the last bit. A pack says what
it was made with (text encoders, metadata, flags and seed of the texts, chunks, precision); another run is refused.

The encoders leave the device when training begins, unless a plugin evaluates.
"""

from extensions import manager
from extensions.base.errors import UserError
from extensions.flags import settings
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl


class Plugin:
    """Opens the pack, and sends the encoders away. Neutral: how many texts there are is part of what the data are."""

    neutral = True
    flags = (Flag("text_outputs", str, "folder of text encoders' outputs (make text-outputs)", neutral=True),)

    def __init__(self):
        self.encoders: list = []
        self.used = False

    @hookimpl
    def check_arguments(self, args):
        if not args.text_outputs:
            raise UserError("text_outputs is listed without --text_outputs; give the folder of the outputs")
        made = settings.of_args(args)
        if made.family != "sdxl":
            raise UserError("--text_outputs is for SDXL: sd-scripts' fine_tune.py reads none; take text_outputs out")
        if args.train_text_encoder:
            raise UserError("--text_outputs needs text encoders that do not train; drop --train_text_encoder, or it")

    @hookimpl
    def text_outputs(self, args, index):
        if not args.text_outputs:  # while they are made
            return None
        from pathlib import Path

        from extensions.data.outputs import made_with
        from extensions.data.outputs.store import Outputs

        found = Outputs(Path(args.text_outputs))
        made_with.require_same(args.text_outputs, found.pack.made_with, made_with.of_run(args, index))
        self.used = True
        return found

    @hookimpl
    def models_loaded(self, models):
        self.encoders = models.text_encoders

    @hookimpl
    def training_begins(self, run):
        if self.used and not manager.current().hook.evaluate.get_hookimpls():
            for encoder in self.encoders:
                encoder.to("cpu")
