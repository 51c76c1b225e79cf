"""Draws images in the middle of a training: what it has learned, to be looked at.

    --sample_prompts=FILE        a prompt a line (`--n` negative, `--w` `--h` `--s` `--l` `--d`), or TOML
    --sample_captions=K          and the captions of K held-out images (plugin of `--validation_…`)
    --sample_at_first, --sample_every_n_steps=N, --sample_every_n_epochs=N: sd-scripts' flags; also at the end,
    and whenever a file `sample` is put into the folder of the checkpoints

One sampler for both trainers, diffusers' Euler for what the run trains: v-prediction and zero terminal SNR have their
schedule, latents are not clamped, texts of any length go through the run's own chunks. sd-scripts' own sampler does
none of this; with any plugin listed its flags belong to this one. Every prompt has a generator of its own, and
nothing of the training moves. It comes behind the step's training state: a kill, or a failure here, costs nothing of
it. Processes share the images. They stand in <output>/samples, the grids in the run folder's samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from extensions.base.errors import UserError, printable
from extensions.base.processes import from_main
from extensions.evaluation import prompts
from extensions.flags import settings, values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl

if TYPE_CHECKING:
    import torch

    from extensions.evaluation.prompts import Prompt
    from extensions.model.models import Models

    Drawn = tuple[int, str, torch.Tensor]  # number of the prompt, column, latents

OF_THE_TRAINER = (
    "sample_prompts", "sample_at_first", "sample_every_n_steps", "sample_every_n_epochs", "sample_sampler",
)  # fmt: skip
HOLD_OUT = ("validation_count", "validation_share")  # flags of whoever does
REQUEST = "sample"  # a file of that name in the folder of the checkpoints asks for images
REPORT = "sample_images: asked"


class Plugin:
    """Draws; changes nothing of the training."""

    claims = ("images of the run",)
    reads = OF_THE_TRAINER
    neutral = True
    models: Models
    flags = (
        Flag("sample_captions", values.whole(0), "draw the captions of so many held-out images, too", default=0),
        Flag(
            "sample_unconditional",
            str,
            "what guidance goes away from without a negative prompt: the empty text, zeros as diffusers' pipelines "
            "have for SDXL, or a column of each",
            default="null",
            choices=("null", "zero", "both"),
        ),
        Flag("sample_vae_on_cpu", bool, "decode on the CPU: slower, and no GPU memory"),
    )

    def __init__(self):
        self.prompts: list[Prompt] = []
        self.drawn: int | None = None

    @hookimpl
    def check_arguments(self, args):
        """Read the prompts, and take the trainer's flags away from its own sampler."""
        if not (args.sample_prompts or args.sample_captions):
            raise UserError("sample_images is listed without --sample_prompts or --sample_captions; give one")
        if getattr(args, "sample_sampler", "ddim") not in (None, "ddim"):  # upstream's default, and its flag alone
            raise UserError(f"--sample_sampler={args.sample_sampler}: sample_images draws by Euler; drop the flag")
        if not args.output_dir:
            raise UserError("sample_images needs --output_dir, where the images go")
        self.every, self.epochs, self.at_first = (
            args.sample_every_n_steps, args.sample_every_n_epochs, args.sample_at_first
        )  # fmt: skip
        if args.sample_captions and not any(getattr(args, name, None) for name in HOLD_OUT):
            raise UserError("--sample_captions draws held-out images' captions; hold some out, --validation_count=")
        family = settings.of_args(args).family
        self.prompts = prompts.read(Path(args.sample_prompts), family) if args.sample_prompts else []
        args.sample_prompts, args.sample_every_n_steps, args.sample_every_n_epochs = None, None, None
        args.sample_at_first = False

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl(trylast=True)  # after a training state is restored
    def training_begins(self, run):
        from extensions.evaluation import gallery, objective, sampling

        args, dataset = run.args, run.dataloader.dataset
        self.prompts += captions(dataset, args, self.models.family)
        self.sampler = sampling.Sampler(self.models, dataset.token_ids, objective.of_args(args))
        both = args.sample_unconditional == "both" and self.models.family == "sdxl"
        self.unconditional = ("null", "zero") if both else (args.sample_unconditional,)
        self.gallery = gallery.Gallery(
            Path(args.output_dir), Path(args.run_folder) if args.run_folder else None, args.output_name or "model",
            self.prompts,
        )  # fmt: skip
        # Also of a run that begins at a later step; not again where it goes on. Settled once for all processes: the
        # first of them to draw changes what the others would find.
        self.at_first = self.at_first and from_main(run.accelerator, self.gallery.first() is None)

    @hookimpl
    def step_reports(self, run):
        """Only the first process looks: one file asks all."""
        main = run.accelerator.is_main_process
        return {REPORT: main and (Path(run.args.output_dir) / REQUEST).exists()}

    @hookimpl
    def evaluate(self, run, ended):
        asked = run.reported.get(REPORT, False)
        if self.drawn == run.optimizer_steps or not (ended or asked or self.due(run)):
            return
        self.drawn = run.optimizer_steps
        self.draw(run)
        if asked and run.accelerator.is_main_process:
            (Path(run.args.output_dir) / REQUEST).unlink(missing_ok=True)

    def due(self, run) -> bool:
        """Tell whether the flags want images at this optimizer step."""
        if self.drawn is None and self.at_first:
            return True
        done = run.optimizer_steps
        if not done:
            return False
        if self.epochs:
            begun = run.position.places.ahead if run.position else 0
            return done > begun and (done - begun) % (self.epochs * run.optimizer_steps_per_epoch) == 0
        return bool(self.every) and done % self.every == 0

    def draw(self, run) -> None:
        """Draw all images, shared over the processes. What fails is told, and the training goes on."""
        from extensions.evaluation import gallery
        from extensions.evaluation.undisturbed import averages_of, undisturbed

        columns = [gallery.RAW if how == self.unconditional[0] else f"raw-{how}" for how in self.unconditional]
        ways = list(zip(self.unconditional, columns, strict=True))
        drawn: list[Drawn] = []
        with undisturbed(self.models, run.optimizer):
            told = self.tried(run, lambda: drawn.extend(self.latents(run, ways)))
            for name, shown in averages_of(run).items():
                columns.append(name)
                with shown():  # on every process, whatever became of its images
                    way = [(self.unconditional[0], name)]
                    told = told or self.tried(run, lambda way=way: drawn.extend(self.latents(run, way)))
            if not told:
                self.tried(run, lambda: self.decode(run, drawn))
        run.accelerator.wait_for_everyone()
        if run.accelerator.is_main_process:
            self.put_together(run, columns)

    def tried(self, run, work) -> bool:
        """Tell, once, what went wrong: whatever it is (no memory, a full disk), the training is worth more."""
        try:
            work()
        except Exception as error:
            said = printable(str(error).partition("\n")[0] or type(error).__name__)
            print(f"sample_images: process {run.accelerator.process_index}: no images: {said}", flush=True)
            return True
        return False

    def latents(self, run, ways: list[tuple[str, str]]) -> list[Drawn]:
        """Draw this process's share of the prompts in these columns."""
        jobs = [(number, how, column) for how, column in ways for number in range(len(self.prompts))]
        mine = jobs[run.accelerator.process_index :: run.accelerator.num_processes]
        return [(n, column, self.sampler.latents(self.prompts[n], how).cpu()) for n, how, column in mine]

    def decode(self, run, drawn: list[Drawn]) -> None:
        """Write this process's images: the autoencoder is loaded once, and let go."""
        from extensions.evaluation import gallery
        from extensions.model import autoencoder

        if not drawn:
            return
        model = autoencoder.read(str(getattr(run.args, "vae", None) or run.args.pretrained_model_name_or_path))
        if not run.args.sample_vae_on_cpu:
            model.to(run.accelerator.device)
        for number, column, latents in drawn:
            pixels = gallery.pixels_of(latents, model, self.models.family)
            self.gallery.write(run.optimizer_steps, number, column, pixels)

    def put_together(self, run, columns: list[str]) -> None:
        """Make the grid and show it to the trackers, on process 0."""
        import numpy as np
        from PIL import Image

        try:
            path = self.gallery.grid(run.optimizer_steps, columns)
            shown: Any = np.asarray(Image.open(path))[None]
            for tracker in run.accelerator.trackers:
                if hasattr(tracker, "log_images"):
                    more = {"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}
                    tracker.log_images({"samples": shown}, step=run.optimizer_steps, **more)
            print(f"sample_images: optimizer step {run.optimizer_steps:,}: {path}", flush=True)
        except Exception as error:
            print(f"sample_images: no grid: {printable(str(error).partition(chr(10))[0])}", flush=True)


def captions(dataset, args, family: str) -> list[Prompt]:
    """Return prompts of the captions of held-out images, at their own sizes. UserError where too few are held out."""
    from extensions.evaluation.prompts import Prompt
    from extensions.evaluation.texts import TEXT, texts_of, undrawn

    count = args.sample_captions
    if len(dataset.held_out) < count:
        raise UserError(
            f"--sample_captions={count}, but {len(dataset.held_out):,} images are held out; give --validation_count="
        )
    samples, quiet = [dataset.metadata[int(row)] for row in dataset.held_out[:count]], undrawn(args)
    return [Prompt(texts_of(one, 0, quiet)[TEXT], one.width, one.height, seed=n) for n, one in enumerate(samples)]
