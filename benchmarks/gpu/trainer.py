"""Trains full-size SDXL as a run does, a process a stage: ours, pristine sd-scripts, ours without plugins, resumed.

The flags are TEMPLATE.sh's (71 % of the U-Net, both text encoders, AdamW8bit, accumulation 4, checkpointing), with
SDPA for attention, on latents of 1024x1024. RUNS is the list: another set of plugins or flags is another line of it
and of `stages.STAGES`.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.gpu import readings
from benchmarks.gpu.setting import LeftOutError, Setting
from extensions import manager
from extensions.base.errors import UserError
from extensions.base.paths import CONFIGS, LAUNCHERS, PATCHED, ROOT, SUBMODULE
from extensions.flags.words import Flags
from extensions.logbook import registry

TEMPLATE = LAUNCHERS / "TEMPLATE.sh"
ACCUMULATION = 4
TIMED = {True: 1, False: 3}  # optimizer steps that are timed, after one that is not; then come one that is counted,
STATE_AFTER, LAST_AFTER = 3, 4  # one with a state at its end, and one that a resumed run repeats
NO_TREE = "patched sd-scripts is not here: git submodule update --init, or carry sd-scripts-runtime/patched along"
MODELS = ("U-Net", "text_encoder_1", "text_encoder_2")
ENVIRONMENT = {"TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1", "COLUMNS": "160"}
ON_CPU = {"ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Run:
    """One training process. plugins: None for TEMPLATE.sh's list; resumes: the run whose state it goes on from.

    settles: optimizer steps before the first that is timed.
    """

    name: str
    plugins: tuple[str, ...] | None = None
    pristine: bool = False
    states: bool = False
    resumes: str = ""
    settles: int = 1
    more: dict[str, str] = field(default_factory=dict)


RUNS = {
    run.name: run
    for run in (
        Run("ours", states=True, more={"recompute": "all"}),  # as much as the plan can say without a card
        Run("pristine", (), pristine=True),
        Run("without-plugins", ()),
        Run("resumed", states=True, resumes="ours", more={"recompute": "all"}),
        Run("recompute-auto", settles=3),  # two are measured by the plugin
    )
}


def ours(setting: Setting) -> None:
    """TEMPLATE.sh's plugins: speed, memory beside the plan's."""
    flags, found = trained(setting, RUNS["ours"])
    if "allocated_bytes" in found and not setting.tiny:
        plan = readings.planned(flags)
        off = readings.off_the_plan(found["allocated_bytes"], plan)
        setting.put("plan", plan)
        setting.put("allocated_over_the_plan", off)
        setting.check("memory within 10 % of the plan", abs(off) <= readings.OFF_THE_PLAN)


def recompute_auto(setting: Setting) -> None:
    """As TEMPLATE.sh has it: kept is what the card has room for."""
    _, found = trained(setting, RUNS["recompute-auto"])
    if other := told(setting, "ours"):
        first = slice(ACCUMULATION)
        setting.check("first losses are those of recomputing all", found["losses"][first] == other["losses"][first])
        setting.put("images_per_second_over_ours", found["images_per_second"] / other["images_per_second"])


def pristine(setting: Setting) -> None:
    """sd-scripts as it is at the pin, which trains all of the U-Net."""
    trained(setting, RUNS["pristine"])


def without_plugins(setting: Setting) -> None:
    """Ours with none: as pristine sd-scripts, to the last bit of the first optimizer step's losses."""
    _, found = trained(setting, RUNS["without-plugins"])
    if other := told(setting, "pristine"):
        first = slice(ACCUMULATION)
        setting.check("first losses are pristine sd-scripts'", found["losses"][first] == other["losses"][first])
        setting.put("speed_over_pristine", found["images_per_second"] / other["images_per_second"])


def resumed(setting: Setting) -> None:
    """Go on from ours' state: the losses before the next update, and the weights after it."""
    unbroken = told(setting, "ours")
    if not unbroken or not state(setting, "ours", False).is_dir():
        raise LeftOutError("ours left no state to go on from")
    _, found = trained(setting, RUNS["resumed"])
    count = len(found["losses"])
    setting.check("losses after the state are the unbroken run's", found["losses"] == unbroken["losses"][-count:])
    folders = [state(setting, name, True) for name in ("ours", "resumed")]
    apart = {name: readings.difference(*(folder / f"{name}.safetensors" for folder in folders)) for name in MODELS}
    setting.put("weights after the next update, apart", apart)
    shutil.rmtree(setting.work / "ours", ignore_errors=True)


def trained(setting: Setting, run: Run) -> tuple[Flags, dict]:
    """Train; the flags and the figures, which are put. RuntimeError, with the log's end, where the process fails."""
    tree, flags = tree_of(run), flags_of(setting, run)
    out, log, began = told_in(setting, run.name), setting.work / "train.log", time.time()
    words = command(setting, run, tree, out, flags)
    with open(log, "wb") as file, readings.Watched(setting.work / "smi.txt") as watched:
        done = subprocess.run(words, env=environment(setting, run), cwd=ROOT, stdout=file, stderr=file, check=False)
    timed = ACCUMULATION * run.settles, ACCUMULATION * (run.settles + TIMED[setting.tiny])
    if out.is_file():
        probe = json.loads(out.read_text(encoding="utf-8"))
        found = readings.figures(probe, began, *timed)
        out.write_text(json.dumps(probe | found), encoding="utf-8")
        for name, value in found.items():
            setting.put(name, value)
    setting.put("nvidia_smi_peaks", watched.peaks())
    tidy(setting, run)
    if done.returncode:
        said = log.read_text(encoding="utf-8", errors="replace").strip()
        raise RuntimeError(f"the trainer ended with exit code {done.returncode}: {said[-2000:]}")
    return flags, found


def tree_of(run: Run) -> Path:
    """Where this run's sd-scripts is. LeftOutError where there is none: nothing is fetched."""
    from extensions.upstream import submodule, tree

    if run.pristine:
        if not submodule.is_present():
            raise LeftOutError("pristine sd-scripts is not here: git submodule update --init")
        return SUBMODULE
    try:
        if submodule.is_present():
            return tree.ensure()
    except UserError:
        pass  # a tree that was carried along may do
    if not (PATCHED / "sdxl_train.py").is_file():
        raise LeftOutError(NO_TREE)
    return PATCHED


def flags_of(setting: Setting, run: Run) -> Flags:
    """TEMPLATE.sh's flags on the made inputs."""
    work, steps = setting.work, run.settles - 1 + TIMED[setting.tiny]
    flags = Flags(registry.ask(TEMPLATE)[7:])
    flags = flags.without("max_train_epochs", "xformers", "save_every_n_epochs", "log_with", "log_prefix").with_(
        "sdpa"
    )
    output = work / run.name
    inputs = {
        "pretrained_model_name_or_path": work / "base.safetensors",
        "in_json": work / "data/meta_lat.json",
        "train_data_dir": work / "data/latents",
        "tokenizer_cache_dir": work / "tokenizers",
        "output_dir": output,
        "seed": 1,
        "max_train_steps": steps + LAST_AFTER,
        "max_data_loader_n_workers": setting.of_size(2, 0),
    }
    for name, value in inputs.items():
        flags = flags.with_(name, value)
    if setting.tiny:
        flags = flags.without("persistent_data_loader_workers")
    if run.plugins is not None:
        flags = with_plugins(flags, run.plugins).with_("gradient_checkpointing")  # TEMPLATE.sh's is a plugin's
    if not flags.get("extensions"):
        flags = flags.without("extensions", "enable_wildcard")  # which dual_tag reads
    if run.states:
        flags = flags.with_("states_every_n_steps", steps + STATE_AFTER)
    if run.resumes:
        flags = flags.with_("resume_mode", "exact").with_("resume_from", state(setting, run.resumes, False))
    for name, value in run.more.items():
        flags = flags.with_(name, value)
    return needed_here(flags, setting)


def with_plugins(flags: Flags, plugins: tuple[str, ...]) -> Flags:
    """TEMPLATE.sh's flags with these of its plugins, and without the flags of all others."""
    left_out = manager.flags_of(name for name in manager.listed(flags.get("extensions")) if name not in plugins)
    return flags.with_("extensions", ",".join(plugins)).without(*(flag.name for flag in left_out))


def needed_here(flags: Flags, setting: Setting) -> Flags:
    """On a processor without bf16 units, the plugin that makes up for them."""
    from extensions.launch import tiny

    return tiny.with_bf16(flags) if not setting.cuda and "extensions" in flags else flags


def command(setting: Setting, run: Run, tree: Path, out: Path, flags: Flags) -> list[str]:
    """The words of a run's process; on a GPU behind accelerate's launcher, as a launch has it."""
    launcher = [sys.executable, "-m", "extensions.launch.spawn", "accelerate.commands.launch"]
    launcher += [f"--config_file={CONFIGS / 'one_gpu.yaml'}", "--num_processes=1"]
    probe = ["-m", "benchmarks.gpu.probe", str(out), "pristine" if run.pristine else "patched", str(tree)]
    return [*(launcher if setting.cuda else launcher[:1]), *probe, "sdxl_train.py", *flags.words()]


def environment(setting: Setting, run: Run) -> dict[str, str]:
    """The variables of a run's process: which micro-steps are counted, and after which it ends."""
    counted = ACCUMULATION * (run.settles + TIMED[setting.tiny]) + 1
    more = ENVIRONMENT | ({} if setting.cuda else ON_CPU) | ({"TINY": "1"} if setting.tiny else {})
    if not run.resumes:
        more |= {"COUNT_FROM": str(counted), "COUNT_TO": str(counted + ACCUMULATION)}
    if not run.states:
        more |= {"STOP_AFTER": str(counted + ACCUMULATION)}
    return {**os.environ, **more, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}


def state(setting: Setting, name: str, last: bool) -> Path:
    """Where a run leaves the state that another goes on from, or its last one."""
    step = TIMED[setting.tiny] + (LAST_AFTER if last else STATE_AFTER)
    return setting.work / name / "states" / f"step{step:08d}"


def told_in(setting: Setting, name: str) -> Path:
    """The file in which a run's process leaves its figures."""
    return setting.work / f"{name}.json"


def told(setting: Setting, name: str) -> dict | None:
    """The figures of an earlier stage's run; None where it has none to compare."""
    path = told_in(setting, name)
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found if "images_per_second" in found else None


def tidy(setting: Setting, run: Run) -> None:
    """Remove what no later stage reads: checkpoints, and the folder of a run without states."""
    output = setting.work / run.name
    for checkpoint in output.glob("*.safetensors"):
        checkpoint.unlink()
    if not run.states:
        shutil.rmtree(output, ignore_errors=True)
