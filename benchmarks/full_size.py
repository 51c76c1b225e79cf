"""Full-size SDXL on one GPU: memory beside the plan's, speed beside pristine sd-scripts', resumed beside unbroken.

    .venv/bin/python -m benchmarks.full_size --out card.json [--seconds 460] [--only recorded,resumed]

Each stage is a process of sd-scripts with the flags of train/25022601.sh (71 % of the U-Net, both text encoders,
AdamW8bit, accumulation 4, checkpointing), SDPA for attention, on latents of 1024x1024. Nothing is downloaded: the
weights are drawn on the card. --tiny does the same with the stand-in's sizes, on a CPU, to try the script itself.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # as a script it finds the package, too
from benchmarks import full_size_inputs, full_size_report
from extensions.base.errors import UserError
from extensions.base.paths import CONFIGS, LAUNCHERS, PATCHED, SUBMODULE
from extensions.base.reporting import exit_code_of
from extensions.flags.words import Flags
from extensions.logbook import registry

RUN = "25022601"
NEEDED = {True: 90, False: 70}  # seconds that a stage takes, with and without training states
OF_PLUGINS = ("unet_percent", "dual_tag", "token_chunks", "bf16_updates")
PROBE = "probe.json"
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
ON_CPU = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TINY": "1"}
RESUMED_FROM, STEPS, TIMED_STEPS = 2, 4, 8  # optimizer steps


@dataclass(frozen=True)
class Stage:
    """One training process. plugins: None for the launcher's list; resumes: the stage whose state it goes on from."""

    name: str
    plugins: tuple[str, ...] | None = None
    pristine: bool = False
    states: bool = False
    resumes: str = ""
    more: dict[str, str] = field(default_factory=dict)


WITHOUT_STATES = ("unet_percent", "dual_tag", "token_chunks", "resume_at_step", "on_nan", "record_run")
STAGES = (
    Stage("recorded", states=True),
    Stage("resumed", states=True, resumes="recorded"),
    Stage("no plugins", ()),
    Stage("pristine", (), pristine=True),
    Stage("plugins", WITHOUT_STATES),
    Stage("plugins and bf16_updates", (*WITHOUT_STATES, "bf16_updates"), more={"bf16_updates": "stochastic"}),
)


def flags_of(stage: Stage, work: Path) -> Flags:
    """The launcher's flags on the made inputs."""
    flags = Flags(registry.ask(LAUNCHERS / f"{RUN}.sh")[7:])
    flags = flags.without("max_train_epochs", "xformers", "save_every_n_epochs", "log_with", "log_prefix")
    flags = flags.with_("sdpa")
    inputs = {"pretrained_model_name_or_path": work / "base.safetensors", "in_json": work / "data/meta_lat.json"}
    inputs |= {"train_data_dir": work / "data/latents", "tokenizer_cache_dir": work / "tokenizers"}
    output = folder(stage.name, work)
    inputs |= {"output_dir": output, "logging_dir": output / "log", "seed": 1}
    inputs |= {"max_train_steps": STEPS if stage.states else TIMED_STEPS}
    for name, value in inputs.items():
        flags = flags.with_(name, str(value))
    if stage.plugins is not None:
        flags = flags.with_("extensions", ",".join(stage.plugins))
        flags = flags.without(*set(OF_PLUGINS) - set(stage.plugins))
    if not flags.get("extensions"):
        flags = flags.without("extensions", "enable_wildcard")  # which dual_tag reads
    if stage.states:
        flags = flags.with_("states_every_n_steps", str(RESUMED_FROM))
    if stage.resumes:
        flags = flags.with_("resume_mode", "exact")
        flags = flags.with_("resume_from", str(state(stage.resumes, work, RESUMED_FROM)))
    for name, value in stage.more.items():
        flags = flags.with_(name, value)
    return flags


def state(name: str, work: Path, step: int) -> Path:
    """Where a stage leaves its training state."""
    return folder(name, work) / "states" / f"step{step:08d}"


def folder(name: str, work: Path) -> Path:
    """The output folder of a stage."""
    return work / name.replace(" ", "_")


def command(stage: Stage, work: Path, flags: Flags, tiny: bool) -> list[str]:
    """The words of a stage's process; on a GPU behind accelerate's launcher, as a launch has it."""
    kind, tree = ("pristine", SUBMODULE) if stage.pristine else ("patched", PATCHED)
    tree = Path(os.environ.get(f"{kind.upper()}_TREE", tree))
    words = [sys.executable, "-m", "extensions.launch.spawn", "accelerate.commands.launch"]
    words += [f"--config_file={CONFIGS / 'one_gpu.yaml'}", "--num_processes=1"]
    probe = ["-m", "benchmarks.full_size_probe", str(work / PROBE), kind, str(tree), "sdxl_train.py"]
    return [*(words[:1] if tiny else words), *probe, *flags.words()]


def run(stage: Stage, work: Path, asked: argparse.Namespace, limit: float) -> dict:
    """Train one stage; its figures. A stage that fails says so and does not end the others."""
    if limit < NEEDED[stage.states] and not asked.tiny:
        return {"left_out": f"{limit:.0f} s left"}
    out, log = work / PROBE, work / "stage.log"
    out.unlink(missing_ok=True)
    flags = flags_of(stage, work)
    more = ENVIRONMENT | (ON_CPU if asked.tiny else {}) | ({"DETERMINISTIC": "1"} if asked.deterministic else {})
    began = time.time()
    with open(log, "wb") as file, full_size_report.Watched(work / "smi.txt") as watched:
        words, variables = command(stage, work, flags, asked.tiny), os.environ | more
        try:
            code = subprocess.run(
                words, env=variables, stdout=file, stderr=file, timeout=limit, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = "out of time"
    found = {"exit_code": code, "seconds": time.time() - began, "nvidia_smi": watched.peaks()}
    if code != 0:
        return found | {"said": log.read_text(errors="replace")[-3000:]}
    found |= full_size_report.figures(json.loads(out.read_text()), began)
    if stage.resumes:
        pair = (state(name, work, STEPS) for name in (stage.resumes, stage.name))
        found["compared"] = full_size_report.equal(*pair)
    return found | ({} if asked.tiny or stage.pristine else {"plan": full_size_report.planned(flags)})


def tidy(stage: Stage, work: Path) -> None:
    """Remove what no later stage reads: checkpoints, and states once a resumed stage was held against them."""
    for checkpoint in folder(stage.name, work).glob("*.safetensors"):
        checkpoint.unlink()
    done = [stage.resumes, stage.name] if stage.resumes else [] if stage.states else [stage.name]
    for name in done:
        shutil.rmtree(folder(name, work), ignore_errors=True)


def main(arguments: list[str]) -> int:
    """Run the stages that fit the time; the figures go to --out after each."""
    asked = parsed(arguments)
    work = asked.work or Path(tempfile.mkdtemp(prefix="full-size-"))
    began = time.time()
    report = {
        "benchmark": "benchmarks.full_size",
        "run": RUN,
        "tiny": asked.tiny,
        "deterministic": asked.deterministic,
    }
    report |= {**full_size_report.card(), "stages": {}}
    full_size_inputs.make(work, asked.tiny)
    report["base_seconds"] = time.time() - began
    for stage in (stage for stage in STAGES if stage.name in asked.only):
        left = began + asked.seconds - time.time()
        report["stages"][stage.name] = run(stage, work, asked, left)
        tidy(stage, work)
        report["total_seconds"] = time.time() - began
        asked.out.write_text(json.dumps(report, indent=1) + "\n")
        print(stage.name, json.dumps(report["stages"][stage.name])[:600], flush=True)
    if asked.work is None:
        shutil.rmtree(work)
    return 0


def parsed(arguments: list[str]) -> argparse.Namespace:
    """The command line. UserError for an unknown stage."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="the JSON with all figures")
    parser.add_argument("--seconds", type=float, default=460, help="no stage begins that might end later")
    parser.add_argument("--only", default="", help="stages, comma-separated; all when left out")
    parser.add_argument("--work", type=Path, help="a folder for some 50 GB; a temporary one when left out")
    parser.add_argument("--deterministic", action="store_true", help="kernels that repeat their bits")
    parser.add_argument("--tiny", action="store_true", help="the stand-in's sizes, on a CPU")
    asked = parser.parse_args(arguments)
    names = [stage.name for stage in STAGES]
    asked.only = [name for name in asked.only.split(",") if name] or names
    if odd := set(asked.only) - set(names):
        raise UserError(f"--only: no stage {sorted(odd)[0]!r}; there is {', '.join(names)}")
    return asked


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
