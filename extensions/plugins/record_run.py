"""Records what a run leaves behind about itself: metrics.jsonl, trainable counts, the checkpoint's identity.

metrics.jsonl has one line an optimizer step, written by process 0 and flushed at once, so that a killed run keeps all
but its last line. `loss` is the mean over process 0's micro-steps of that optimizer step (the figure that upstream's
log shows, too), also by strata of log-SNR where a batch is one image; `gradient_norm` is that of the update before it
is clipped; `samples` counts all processes. What other plugins measure stands in lines of its own, {"optimizer_step":
…, "<what>": …}; its numbers go to the trackers, too. The manifest gets the digest of each checkpoint.
"""

import json
import resource
import time
from contextlib import suppress
from pathlib import Path
from statistics import fmean as mean
from typing import TextIO

from extensions.base import manifest
from extensions.base.recorded_files import RecordedFiles
from extensions.base.saving import writing
from extensions.hookspecs import hookimpl
from extensions.model.models import Models

TITLED_BY = ("metadata_title", "output_name")  # flags by which a person titles the checkpoints of a run
IDENTITY = ("run", "started", "parent", "trainer", "sd_scripts_commit", "patch_series_sha256", "project_commit")


def memory() -> dict[str, int]:
    """Return the peak of this process: bytes on its GPU where there is one, else its resident set.

    Of a GPU also what PyTorch's allocator had reserved, and how often it had to free all and try again, which stops
    the GPU each time: a card that is nearly full.
    """
    import torch

    if not torch.cuda.is_available():
        return {"peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
    found = torch.cuda.memory_stats()
    return {
        "peak_memory_bytes": found["allocated_bytes.all.peak"],
        "reserved_memory_bytes": found["reserved_bytes.all.peak"],
        "allocator_retries": found["num_alloc_retries"],
    }


def numbers_of(figures: dict, prefix: str = "") -> dict[str, float]:
    """Return {"validation/x0": 0.1, …}: the numbers of nested figures, as trackers name them."""
    found: dict[str, float] = {}
    for name, value in figures.items():
        if isinstance(value, dict):
            found |= numbers_of(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = value
    return found


def means_by(names: list[str], losses: list[float]) -> dict[str, float]:
    """Return {source: mean loss} of the micro-steps whose source is known; a batch is of one."""
    return {
        name: mean(loss for own, loss in zip(names, losses, strict=True) if own == name)
        for name in dict.fromkeys(filter(None, names))
    }


class Plugin:
    """Records; changes nothing of the training."""

    neutral = True
    models: Models

    def __init__(self):
        self.folder: Path | None = None
        self.metrics: TextIO | None = None
        self.losses: list[float] = []
        self.sources: list[str] = []  # of each micro-step, where the data are a mixture
        self.began = 0.0
        self.timesteps: list = []  # of each micro-step of this optimizer step
        self.measured: list[tuple[int, dict[str, float]]] = []  # that no tracker has yet
        self.files: RecordedFiles | None = None
        self.samples = 0  # at the start of this launch: the run's count goes on from a training state

    @hookimpl
    def check_arguments(self, args):
        self.folder = args.run_folder

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl(trylast=True)  # after a training state is restored
    def training_begins(self, run):
        from extensions.evaluation.gradient_norm import GradientNorm
        from extensions.evaluation.strata import Strata

        self.began, self.samples = time.monotonic(), run.samples
        self.norm, self.strata = GradientNorm(run), Strata(run.args)
        self.names = self.group_names(run.optimizer)
        counts = self.trainable()
        if not run.accelerator.is_main_process:
            return
        dtypes = self.dtypes()
        for name, (count, total) in counts.items():
            print(f"trainable: {name}: {count:,} of {total:,} parameters, in {dtypes[name]}", flush=True)
        if self.folder:
            with writing(self.folder, "make room, or let LOGS= name another disk"):
                self.begin_record(run, counts)

    def begin_record(self, run, counts: dict[str, tuple[int, int]]) -> None:
        """Add to the manifest what is known now, and open metrics.jsonl."""
        assert self.folder is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        data = run.dataloader.dataset if run.dataloader else None
        images, fingerprint = (getattr(data, name, None) for name in ("num_train_images", "fingerprint"))
        trainable = {name: count for name, (count, _) in counts.items()}
        manifest.update(self.folder, trainable_parameters=trainable, images=images, data_fingerprint=fingerprint)
        if output := getattr(run.args, "output_dir", None):
            self.files = RecordedFiles(self.folder, Path(output))
        self.metrics = open(self.folder / "metrics.jsonl", "a", encoding="utf-8", buffering=1)

    def trainable(self) -> dict[str, tuple[int, int]]:
        """Return {"U-Net": (trainable parameters, all parameters), …}."""
        return {
            name: (
                sum(p.numel() for p in model.parameters() if p.requires_grad),
                sum(p.numel() for p in model.parameters()),
            )
            for name, model in self.models.named().items()
        }

    def dtypes(self) -> dict[str, str]:
        """Return {"U-Net": "bfloat16", …}: what the weights are kept in, which is not what products are made in."""
        kept = {name: {str(p.dtype) for p in model.parameters()} for name, model in self.models.named().items()}
        return {name: " and ".join(sorted(found)).replace("torch.", "") for name, found in kept.items()}

    def group_names(self, optimizer) -> list[str]:
        """Return the model that each parameter group belongs to. ZeRO replaces parameters: then numbers."""
        owner = {id(p): name for name, model in self.models.named().items() for p in model.parameters()}
        groups = enumerate(optimizer.param_groups)
        return [owner.get(id(group["params"][0]), f"group {i}") for i, group in groups]

    @hookimpl
    def timesteps_drawn(self, timesteps):
        self.timesteps.append(timesteps)

    @hookimpl
    def micro_step_ended(self, run, loss, batch):
        self.losses.append(loss)
        self.sources.append((batch.get("image_sources") or [""])[0])
        self.track(run)

    @hookimpl
    def optimizer_step_ended(self, run):
        if self.metrics:
            self.write(self.line(run))
        self.losses.clear()
        self.sources.clear()
        self.timesteps.clear()

    @hookimpl
    def figures_measured(self, run, figures):
        """Write a line at once; the trackers begin with the first micro-step."""
        self.write({"optimizer_step": run.optimizer_steps, **figures})
        self.measured.append((run.optimizer_steps, numbers_of(figures)))
        self.track(run)

    def write(self, line: dict) -> None:
        """Append a line to metrics.jsonl, if this process writes one."""
        if self.metrics:
            with writing(self.metrics.name, "make room, then RESUME=auto goes on from the last state"):
                self.metrics.write(json.dumps(line) + "\n")

    def track(self, run) -> None:
        """Hand the trackers, once there are some, what was measured."""
        if not run.accelerator.trackers:
            return
        for step, numbers in self.measured:
            run.accelerator.log(numbers, step=step)
        self.measured.clear()

    def line(self, run) -> dict:
        """One line of metrics.jsonl."""
        seconds = time.monotonic() - self.began
        more = {"gradient_norm": self.norm.value(), "loss_by_stratum": self.strata.means(self.losses, self.timesteps)}
        more["loss_by_source"] = means_by(self.sources, self.losses)
        return {
            "optimizer_step": run.optimizer_steps,
            "micro_step": run.micro_steps,
            "samples": run.samples,
            "loss": sum(self.losses) / len(self.losses),
            "lr": dict(zip(self.names, run.learning_rates(), strict=True)),
            "images_per_second": round((run.samples - self.samples) / seconds, 3),
            **memory(),
            **{name: value for name, value in more.items() if value},
        }

    @hookimpl
    def checkpoint_metadata(self, optimizer_steps):
        record = manifest.read(self.folder)
        known = {key: getattr(record, key) for key in IDENTITY} if record else {}
        identity = {f"sdxl_trainer.{key}": str(value) for key, value in known.items() if value}
        if record and record.run and not set(TITLED_BY) & record.flags.keys():
            # Else the title is the checkpoint's name, or Checkpoint@ and the time where upstream has not even that.
            identity["modelspec.title"] = f"model_out_{record.run}, optimizer step {optimizer_steps:,}"
        return identity | {"sdxl_trainer.optimizer_steps": str(optimizer_steps)}

    @hookimpl(trylast=True)  # after what other plugins save beside it
    def checkpoint_saved(self):
        if self.files:
            self.files.look()

    @hookimpl(trylast=True)
    def run_ended(self, error):
        if self.files:
            self.files.finish()
        if self.metrics:
            with suppress(OSError):  # what a full disk has not taken was told when it was written
                self.metrics.close()
