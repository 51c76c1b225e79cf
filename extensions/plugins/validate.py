"""Measures a model on images that it is not trained on: a figure that can be compared between steps and runs.

    --validation_share=P         held out: images whose id hashes below P (of all hashes)
    --validation_count=N         or so many, by the least hashes
    --validation_json=META --validation_data_dir=FOLDER    or a set of its own, which may share no id with --in_json
    --validate_every_n_steps=N   0: as often as takes a hundredth of the time
    --validation_images=N        are asked about each time, always the same; and as many that are trained on

Before the first optimizer step, at intervals and at the end, each image is asked about in --validation_strata strata
of log-SNR, with noise and timesteps that are a function of --validation_seed and its id (`evaluation/strata.py`),
with its own text, tags alone, caption alone and none. Reported are the objective's own loss and the error of x_0,
which is one scale for epsilon, v and rectified flow. The same weights give the same number in every run, on any
number of processes and with both trainers. Each evaluation is compared with the first and with the one before, image
by image, so that what the images have in common falls out of the error. Averages of the weights that another plugin
keeps are asked, too. Nothing of the training is touched: random streams, modes and gradients are what they were.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from extensions.base.errors import UserError
from extensions.base.processes import from_main
from extensions.data import DATASET
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl

if TYPE_CHECKING:
    from extensions.evaluation.asking import Asker
    from extensions.evaluation.record import Evaluation
    from extensions.evaluation.sets import Rows
    from extensions.model.models import Models

SETS = ("validation_share", "validation_count", "validation_json")


class Plugin:
    """Measures; changes nothing of the training but the images that it holds out of it."""

    claims = ("which images are held out",)
    neutral = True
    models: Models
    flags = (
        Flag("validation_share", values.probability, "of the images, held out of the training", unit="0 to 1"),
        Flag("validation_count", values.whole(1), "held out of the training, instead of a share", unit="images"),
        Flag("validation_json", Path, "metadata of a validation set of its own, instead of a share"),
        Flag("validation_data_dir", Path, "the latents of --validation_json"),
        Flag(
            "validate_every_n_steps",
            values.whole(0),
            "between evaluations; 0: as often as takes a hundredth of the time",
            default=0,
            unit="optimizer steps",
        ),
        Flag("validation_images", values.whole(2), "asked about in each evaluation", default=16, unit="images"),
        Flag("validation_strata", values.whole(1, 100), "of log-SNR, each image asked in all", default=8),
        Flag("validation_seed", values.whole(0), "of noise and timesteps; alike in runs to be compared", default=0),
    )

    def __init__(self):
        self.rows: Rows | None = None
        self.asker: Asker | None = None
        self.past: list[Evaluation] = []
        self.every = 0

    @hookimpl
    def check_arguments(self, args):
        given = [name for name in SETS if getattr(args, name) is not None]
        if len(given) != 1:
            said = " and ".join(f"--{name}" for name in given) or "none"
            raise UserError(f"validate takes one of {', '.join(f'--{name}' for name in SETS)}; given: {said}")
        if (args.validation_data_dir is None) != (args.validation_json is None):
            raise UserError("--validation_json and --validation_data_dir go together; give both")
        if args.dataset_class != DATASET:
            raise UserError(f"validate reads the images of one data set; give --dataset_class={DATASET}")
        if not args.output_dir:
            raise UserError("validate needs --output_dir, where the figures to compare with are kept")

    @hookimpl
    def held_out_rows(self, args, index):
        from extensions.evaluation import sets

        self.rows = sets.of_own(index, args) if args.validation_json else sets.of_share(index, args)
        return self.rows.out

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl(trylast=True)  # after a training state is restored
    def training_begins(self, run):
        from extensions.evaluation import asking, objective, record, sets

        args, dataset, rows = run.args, run.dataloader.dataset, self.rows
        assert rows is not None  # the data set was opened
        self.known = len(rows.held)
        held, beside = rows.held[: args.validation_images], rows.beside[: args.validation_images]
        self.held = sets.images(rows.index, rows.folder, held, args)
        named = getattr(rows.index, "source_of", None)  # of a mixture
        self.sources = [named(int(row)) for row in held] if named else []
        self.beside = sets.images(dataset.metadata, Path(args.train_data_dir), beside, args)
        tokenize, count = dataset.token_ids, args.validation_strata
        self.asker = asking.Asker(self.models, tokenize, objective.of_args(args), args.validation_seed, count)
        self.asked = asking.name_of(self.held, args.validation_seed, count)
        self.output = Path(args.output_dir)
        self.past = from_main(run.accelerator, record.read(self.output, self.asked, run.optimizer_steps))
        if run.accelerator.is_main_process:
            record.forget(self.output, self.asked, run.optimizer_steps)

    def interval(self, run) -> int:
        """Return the optimizer steps between evaluations, and say what they cost."""
        from extensions.evaluation import cost
        from extensions.evaluation.undisturbed import averages_of

        args = run.args
        passes = cost.forward_passes(len(self.held), args.validation_strata, len(averages_of(run)))
        images = args.train_batch_size * args.gradient_accumulation_steps * run.accelerator.num_processes
        every = args.validate_every_n_steps or cost.interval(passes, images)
        if run.accelerator.is_main_process:
            percent = 100 * cost.share(passes, every, images)
            print(
                f"validate: {len(self.held)} of {self.known:,} images, every {every:,} optimizer steps: "
                f"{passes:,} forward passes, {percent:.2g}% of the time",
                flush=True,
            )
        return every

    @hookimpl
    def evaluate(self, run, ended):
        if not self.every:  # every plugin is ready, those that average the weights, too
            self.every = self.interval(run)
        done = self.past[-1].optimizer_step if self.past else None
        due = ended or done is None or run.optimizer_steps % self.every == 0
        if not due or done == run.optimizer_steps:
            return
        figures, evaluation = self.measured(run)
        if run.accelerator.is_main_process:
            self.tell(run, figures, evaluation)
        self.past.append(evaluation)

    def measured(self, run) -> tuple[dict, Evaluation]:
        """Ask all, on every process. Returns (figures, the held-out images' errors)."""
        from extensions.evaluation import asking, figures, record, strata, texts
        from extensions.evaluation.undisturbed import averages_of, undisturbed

        assert self.asker is not None  # the training has begun
        units = [(image, text) for image in self.held for text in dict.fromkeys(image.texts.values())]
        units += [(image, image.texts[texts.TEXT]) for image in self.beside]
        with undisturbed(self.models, run.optimizer):
            found = asking.shared(units, self.asker, run.accelerator)
            averaged = {}
            own = [(image, image.texts[texts.TEXT]) for image in self.held]
            for name, shown in averages_of(run).items():
                with shown():
                    averaged[name] = asking.shared(own, self.asker, run.accelerator)
        answers = {(id(image), text): answer for (image, text), answer in zip(units, found, strict=True)}
        names = strata.names(self.asker.count)
        held = {
            column: figures.summary(*asking.stacked(answers, self.held, column), names) for column in texts.COLUMNS
        }
        _, errors = asking.stacked(answers, self.held, texts.TEXT)
        now = figures.per_image(errors)
        known = {"held_out": held.pop(texts.TEXT), **held}
        if self.beside:
            known["training"] = figures.summary(*asking.stacked(answers, self.beside, texts.TEXT), names)
        if self.sources:
            known["sources"] = figures.by_source(now, self.sources)
        if averaged:
            known["averages"] = {name: figures.summary(got[:, 0], got[:, 1], names) for name, got in averaged.items()}
        if self.past:
            known["difference_to_first"] = figures.paired(now, self.past[0].values)
            known["difference_to_previous"] = figures.paired(now, self.past[-1].values)
        return known, record.Evaluation(run.optimizer_steps, self.asked, now.tolist())

    def tell(self, run, known: dict, evaluation: Evaluation) -> None:
        """Write down an evaluation, on process 0."""
        from extensions import manager
        from extensions.evaluation import figures, record

        record.append(self.output, evaluation)
        manager.current().hook.figures_measured(run=run, figures={"validation": known})
        print(f"validate: optimizer step {run.optimizer_steps:,}: {figures.line(known)}", flush=True)
