"""make parity: the patched sd-scripts and the reference trainer, side by side, micro-step by micro-step.

Same checkpoint, data, seed and flags, float32, one process. Held to: the same hooks in the same order,
every micro-step's loss within 1e-4 relative, every final weight within 1e-5 absolute. The recorded
learning rates move a weight by little more than that in so few steps, so that the last alone could hardly
fail: the norm of the difference must be below 1 % of the norm of the movement, too. Sums in another
order differ by some 1e-7 in float32; near a gradient of 0 Adam's division makes a whole update of that.
"""

import os
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from safetensors.torch import load_file

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS, ROOT
from extensions.base.reporting import exit_code_of
from extensions.launch import asked as request
from extensions.launch import command, tiny
from extensions.launch.stages import Asked, changed
from extensions.logbook import registry
from extensions.upstream import tree

LOSSES = 1e-4  # relative
WEIGHTS = 1e-5  # absolute
MOVEMENT = 0.01  # norm of the difference over norm of the movement
MICRO_STEPS = 24
HOOK = re.compile(r"\[hook\] (\w+)\(")
LOSS = re.compile(r"\[hook\] micro_step_ended\(run=\w+, loss=([^,]+),")  # two processes may share a line


@dataclass(frozen=True)
class Case:
    """One row: a run of the logbook, flags taken from it and put into it (name and values), and its processes."""

    what: str
    run: str
    without: tuple[str, ...] = ()
    more: tuple[tuple[str, ...], ...] = ()
    processes: int = 1


CHUNKED = "dual_tag,token_chunks,resume_at_step,save_states,on_nan,record_run"  # the launchers of SD2 have no chunks
LEARNING = "dual_tag,objective,timestep_draws,resume_at_step,save_states,on_nan,record_run"
OF_SDXL = ("unet_percent", "token_chunks")  # flags of plugins that these rows do not list
OF_V = ("v_parameterization", "zero_terminal_snr", "min_snr_gamma")
CASES = (
    Case("plain 100 %, no plugins", "24120801", ("extensions", "dual_tag")),
    Case("71 %, dual tags, chunks, GA 4, TE rates", "25022601"),
    Case("text encoders only", "24121901"),
    Case("U-Net only", "24121401"),
    Case("SD2, v-prediction, min-SNR, and chunks", "24122001", (), (("extensions", CHUNKED), ("dual_tag", "concat"))),
    Case("AdaFactor, relative step", "25031502"),
    Case("noise, logit-normal law, stratified", "24121401", (), (
        ("extensions", LEARNING), ("objective", "epsilon"), ("timestep_draws", "stratified"),
        ("timestep_law", "logit_normal"), ("timestep_mean", "-0.2"),
    )),
    Case("noise, debiased, a law from the trainer's stream", "24121401", (), (
        ("extensions", f"loss_weights,{LEARNING}"), ("objective", "epsilon"), ("timestep_draws", "upstream"),
        ("timestep_law", "cosmap"), ("loss_weight", "debiased"),
    )),
    Case("v, zero terminal SNR, the paper's min-SNR, GA 4", "25022601", OF_SDXL, (
        ("extensions", f"loss_weights,{LEARNING}"), ("objective", "v"), ("zero_terminal_snr",),
        ("loss_weight", "min_snr"),
    )),
    Case("v, pseudo-Huber, shift by resolution", "24121401", (), (
        ("extensions", f"loss_weights,{LEARNING}"), ("objective", "v"), ("timestep_shift", "resolution"),
        ("loss_huber", "0.5"),
    )),
    Case("flow, shift 3, independent, GA 4", "25022601", OF_SDXL, (
        ("extensions", LEARNING), ("objective", "flow"), ("timestep_draws", "independent"), ("timestep_shift", "3"),
    )),
    Case("flow, learned weights, GA 4", "25022601", OF_SDXL, (
        ("extensions", f"loss_weights,{LEARNING}"), ("objective", "flow"), ("loss_weight", "edm2"),
    )),
    Case("SD2, v, zero terminal SNR, min-SNR as upstream's", "24122001", OF_V, (
        ("extensions", f"loss_weights,{LEARNING}"), ("objective", "v"), ("zero_terminal_snr",),
        ("loss_weight", "min_snr"), ("loss_weight_snr", "upstream"),
    )),
    Case("SD2, flow, beta law, stratified", "24122001", OF_V, (
        ("extensions", LEARNING), ("objective", "flow"), ("timestep_law", "beta"), ("timestep_alpha", "2"),
        ("timestep_beta", "1.5"),
    )),
)  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """What a case came to. loss: greatest relative difference; weight: greatest absolute one; movement: a ratio."""

    micro_steps: int
    loss: float
    weight: float
    movement: float

    @property
    def holds(self) -> bool:
        return self.loss <= LOSSES and self.weight <= WEIGHTS and self.movement <= MOVEMENT


def prepared(case: Case, output: Path) -> Asked:
    """The case's run on stand-ins, in float32, long enough for the micro-steps, data read in the process."""
    environment = {"PATH": os.environ["PATH"], "LAUNCH_FACTS": "1"}
    launcher = ["bash", str(LAUNCHERS / f"{registry.known(case.run)}.sh")]
    facts = subprocess.run(launcher, env=environment, capture_output=True, text=True, check=True).stdout
    asked = request.read(facts.split("\0")[:-1], {"PROFILE": "tiny"})
    accumulation = asked.settings.accumulation
    # An epoch of the stand-in set ends with an incomplete accumulation, so one more optimizer step.
    steps = MICRO_STEPS // accumulation + (accumulation > 1)
    asked = tiny.apply(changed(asked, flags=asked.flags.without("full_bf16"), tiny_steps=steps))
    drop = ("save_every_n_epochs", "save_every_n_steps", "persistent_data_loader_workers", "skip_cache_check")
    flags = asked.flags.without(*case.without, *drop)
    chosen = {
        "mixed_precision": "no",
        "save_precision": "float",
        "max_data_loader_n_workers": "0",
        "output_dir": output,
        "logging_dir": output / "tensorboard",
    }
    for name, *values in (*chosen.items(), *case.more):
        flags = flags.with_(name, *values)
    return changed(asked, flags=flags, gpus=case.processes)


@dataclass(frozen=True)
class Trained:
    """What one trainer did: names of the hooks in order, losses of the micro-steps, its last checkpoint."""

    hooks: list[str]
    losses: list[float]
    weights: dict[str, torch.Tensor]


def train(case: Case, folder: Path, patched: Path | None) -> Trained:
    """Run one trainer, the reference without `patched`. UserError with its last words when it fails."""
    output = folder / ("sd-scripts" if patched else "reference")
    asked = prepared(case, output)
    words = command.build(asked, patched)
    environment = os.environ | command.environment(asked) | {"EXTENSIONS_TRACE": "1"}
    done = subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"run {case.run} fails with {output.name}: {done.stderr.strip().splitlines()[-1]}")
    losses = [float(loss) for loss in LOSS.findall(done.stderr)]
    return Trained(HOOK.findall(done.stderr), losses, load_file(output / "last.safetensors"))


def both(case: Case, folder: Path, patched: Path) -> tuple[Trained, Trained]:
    """(sd-scripts, reference), at the same time: each computes with one thread."""
    with ThreadPoolExecutor(2) as pool:
        theirs, ours = pool.map(lambda trainer: train(case, folder, trainer), (patched, None))
    return theirs, ours


def compare(case: Case, folder: Path, patched: Path) -> Outcome:
    """Both trainers on one case. UserError when they do not even call the same hooks or save the same tensors."""
    base = load_file(prepared(case, folder).path("pretrained_model_name_or_path"))
    theirs, ours = both(case, folder, patched)
    if theirs.hooks != ours.hooks or len(ours.losses) < MICRO_STEPS:
        raise UserError(f"run {case.run}: {first_difference(theirs.hooks, ours.hooks)}")
    if theirs.weights.keys() != ours.weights.keys():
        raise UserError(f"run {case.run}: other tensors: {sorted(theirs.weights.keys() ^ ours.weights.keys())[:3]}")
    names = [name for name in base if name in ours.weights]
    difference = {name: (ours.weights[name] - theirs.weights[name]).double() for name in names}
    moved = {name: theirs.weights[name].double() - base[name].double() for name in names}
    return Outcome(
        micro_steps=len(ours.losses),
        loss=max(relative(a, b) for a, b in zip(ours.losses, theirs.losses, strict=True)),
        weight=max(tensor.abs().max().item() for tensor in difference.values()),
        movement=norm(difference) / norm(moved),
    )


def first_difference(theirs: list[str], ours: list[str]) -> str:
    """Where two sequences of hook calls part."""
    for number, (a, b) in enumerate(zip_longest(theirs, ours, fillvalue="nothing")):
        if a != b:
            return f"hook call {number} is {a} in sd-scripts, {b} in the reference trainer"
    return f"only {theirs.count('micro_step_ended')} micro-steps"


def relative(ours: float, theirs: float) -> float:
    """Difference of two losses; one can be 0 where its timestep weighs nothing."""
    return 0.0 if ours == theirs else abs(ours - theirs) / abs(theirs) if theirs else float("inf")


def norm(tensors: dict[str, torch.Tensor]) -> float:
    """Euclidean norm of all elements."""
    return sum(tensor.square().sum().item() for tensor in tensors.values()) ** 0.5


def main(names: list[str]) -> int:
    """Print the table for all cases, or for those of the runs that are named; 1 when a row does not hold."""
    patched = tree.ensure()
    cases = [case for case in CASES if not names or case.run in names]
    table = Table("case", "run", "micro-steps", "loss, relative", "weights, absolute", "of the movement", "")
    outcomes = []
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            outcome = compare(case, Path(folder), patched)
        outcomes.append(outcome)
        figures = (f"{outcome.loss:.1e}", f"{outcome.weight:.1e}", f"{outcome.movement:.1e}")
        table.add_row(case.what, case.run, str(outcome.micro_steps), *figures, "holds" if outcome.holds else "FAILS")
        print(f"{case.run}: {'holds' if outcome.holds else 'FAILS'}", flush=True)
    Console(width=120).print(table)
    print(f"bounds: losses {LOSSES:g}, weights {WEIGHTS:g}, of the movement {MOVEMENT:g}")
    return 0 if all(outcome.holds for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
