"""Starts sd-scripts as a run does, and writes down what each micro-step took: a part of benchmarks.gpu.trainer.

    python -m benchmarks.gpu.probe OUT.json pristine|patched TREE SCRIPT [flags]

patched: as extensions.upstream starts it. pristine: upstream's own files with none of our calls and seams; only the
data set is ours, because upstream's would encode images first. COUNT_FROM, COUNT_TO: micro-steps between whose ends
synchronisations are counted. STOP_AFTER: the run ends after so many, without a checkpoint.
"""

import argparse
import functools
import importlib
import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # as a script it finds the package, too
from benchmarks.gpu import synchronisations


class Clock:
    """A moment a micro-step, when upstream has its loss: it has waited for the GPU by then."""

    def __init__(self):
        self.steps, self.latents = [], None
        number = {name: int(os.environ.get(name, "-1")) for name in ("COUNT_FROM", "COUNT_TO", "STOP_AFTER")}
        self.count_from, self.count_to, self.stop_after = number.values()
        self.counter = synchronisations.Counter()

    def watch(self, train_util) -> None:
        """Wrap what upstream calls once a micro-step: the draw of the noise, and the record of the loss."""
        draw, add = train_util.get_noise_noisy_latents_and_timesteps, train_util.LossRecorder.add

        @functools.wraps(draw)  # the seams look at its arguments
        def drawing(args, noise_scheduler, latents, *rest, **named):
            self.latents = list(latents.shape)
            return draw(args, noise_scheduler, latents, *rest, **named)

        @functools.wraps(add)
        def adding(recorder, *, epoch, step, loss):
            self.micro_step(loss)
            return add(recorder, epoch=epoch, step=step, loss=loss)

        train_util.get_noise_noisy_latents_and_timesteps, train_util.LossRecorder.add = drawing, adding

    def micro_step(self, loss: float) -> None:
        """Note the end of a micro-step."""
        self.steps.append({"at": time.perf_counter(), "loss": loss, "latents": self.latents, **memory()})
        done = len(self.steps)
        if done == self.count_from:
            self.counter.begin()
        if done == self.count_to:
            self.counter.end()
        if done == self.stop_after:
            raise SystemExit(0)


def memory() -> dict:
    """Bytes on the GPU so far, at most, and how often the allocator had to empty its cache; {} on a CPU."""
    import torch

    if not torch.cuda.is_available():
        return {}
    found = torch.cuda.memory_stats()
    return {
        "allocated_bytes": found["allocated_bytes.all.peak"],
        "reserved_bytes": found["reserved_bytes.all.peak"],
        "alloc_retries": found["num_alloc_retries"],
    }


def train_pristine(tree: str, script: str, flags: list[str]) -> int:
    """The trainer's own main, with the flags and the data set's global that our data set needs."""
    from extensions import manager
    from extensions.trainer import arguments

    sys.argv = [script, *flags]
    trainer = importlib.import_module(Path(script).stem)
    parser = arguments.extend(trainer.setup_parser(), manager.install([]))
    args = parser.parse_args(flags)
    manager.set_args(args)
    if "TINY" in os.environ:  # upstream's constants are the full size
        from extensions.upstream import seams

        seams.SEAMS[0].install()
    trainer.train(args)
    return 0


def main(words: list[str]) -> int:
    """Train, and write the figures whatever the end; the trainer's exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("out", "kind", "tree", "script"):
        parser.add_argument(name)
    parser.add_argument("flags", nargs=argparse.REMAINDER)
    asked = parser.parse_args(words)
    out, kind, tree, script, flags = asked.out, asked.kind, asked.tree, asked.script, asked.flags
    sys.path.insert(0, tree)
    clock = Clock()
    clock.watch(importlib.import_module("library.train_util"))
    facts = {"imported": time.time(), "began": time.perf_counter()}
    from extensions.upstream.__main__ import run

    try:
        return train_pristine(tree, script, flags) if kind == "pristine" else run([tree, script, *flags])
    finally:
        Path(out).write_text(json.dumps(facts | {"micro_steps": clock.steps, "waits": clock.counter.found()}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
