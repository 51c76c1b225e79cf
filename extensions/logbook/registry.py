"""Lists the runs, as their launchers state them: each is asked for its facts (LAUNCH_FACTS=1), not parsed as text.

Paths are asked for under their variables' names, so that a run reads `$BASE_215C` on every machine.
"""

import difflib
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.paths import LAUNCHERS
from extensions.flags import blend, settings
from extensions.flags.settings import UNET, Settings
from extensions.launch import asked as request
from extensions.launch.stages import Asked
from extensions.logbook import header, steps

BASES = {
    "$BASE_215C": "215c", "$BASE_255B": "255b", "$BASE_255C": "255c", "$BASE_21B": "21b", "$BASE_OWN": "own",
    "$BASE_AK_NIL": "AK-NIL-1.2", "$BASE_AC_NIL": "AC-NIL-0.1", "$BASE_AC_NOOBAI": "AC-NoobAI-1.0",
    "$BASE_2EP": "2EP", "$BASE_VL_2_5EP": "VL-2.5EP",
}  # fmt: skip
DATASETS = {
    "$META_20": "20", "$META_6K": "6k", "$META_6K_SD2": "6k_sd2", "$META_12M": "12.4M", "$META_OWN": "own",
}  # fmt: skip
FOLDERS = ("MODELS", "DATASETS", "OUTPUT", "TOKENIZERS", "DATA_20", "DATA_6K", "DATA_6K_SD2", "DATA_12M", "DATA_OWN")
PATTERN = "[0-9]*.sh"
SECONDS = 20


@dataclass
class Run:
    """One run. Steps are optimizer steps; `steps` is the whole schedule's, None where the images are unknown.

    base, data: aliases of the logbook (a segment has its first ancestor's base), else the path's name, behind the run
    whose checkpoint it is, or a blend.
    unet_percent: share of the U-Net that trains, as named (63, 68, 71, 100). tte: on, off or only. lr_te: None when
    the text encoders stay as they are. batch_size: images a micro-step. ga: micro-steps an optimizer step. flags:
    name to value; True for a switch, a list for several values.
    """

    run: str
    session: str
    script: str
    base: str
    data: str
    gpus: int
    unet_percent: float
    tte: str
    optimizer: str
    lr_unet: float
    lr_te: float | None
    batch_size: int
    ga: int
    epochs: int | None
    steps: int | None
    parent: str
    start_step: int
    stop_step: int | None
    ramdisk: bool
    numa: int | None
    extensions: list[str]
    words: str
    flags: dict[str, str | bool | list[str]] = field(repr=False, default_factory=dict)


def read_all(folder: Path = LAUNCHERS) -> dict[str, Run]:
    """Return all runs by number, in order. UserError names a launcher that cannot state its facts."""
    with ThreadPoolExecutor(max_workers=16) as pool:
        runs = list(pool.map(read, sorted(folder.glob(PATTERN))))
    return with_bases({run.run: run for run in runs})


def find(runs: dict[str, Run], name: str) -> Run:
    """Return the run of that number, or of `model_out_<number>`. UserError with near ones for an unknown one."""
    return runs[nearest(name, list(runs))]


def known(name: str, folder: Path = LAUNCHERS) -> str:
    """Return the number of a run that has a launcher; none is read. UserError as in `find`."""
    return nearest(name, sorted(path.stem for path in folder.glob(PATTERN)))


def nearest(name: str, numbers: list[str]) -> str:
    """Return the number, if it is one of `numbers`; else UserError with those that are near."""
    number = name.removeprefix("model_out_")
    if number in numbers:
        return number
    near = difflib.get_close_matches(number, numbers, n=3, cutoff=0.6)
    hint = f"near it: {', '.join(near)}" if near else "make runs lists all"
    raise UserError(f"there is no run {name}; {hint}")


def read(path: Path) -> Run:
    """One launcher's run, its base not yet followed to an ancestor. UserError if its facts make no sense."""
    words, where = ask(path), f"train/{path.name}: "
    try:
        return run_of(request.read(words, environment={}), header.read(path))
    except (UserError, ValueError) as error:
        raise UserError(where + str(error).removeprefix(where)) from None


def ask(path: Path) -> list[str]:
    """Ask what the launcher hands to `launch`: run, NAME=VALUE facts, trainer, flags; paths by variables' names."""
    return _asked(path, environment())


def ask_here(path: Path) -> list[str]:
    """Return the same with this machine's paths (env.sh)."""
    return _asked(path, dict(os.environ) | {"LAUNCH_FACTS": "1"})


def _asked(path: Path, variables: dict[str, str]) -> list[str]:
    try:
        done = subprocess.run(
            ["bash", str(path)],
            env=variables,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"train/{path.name} states no facts within {SECONDS} s") from None
    if done.returncode or not done.stdout:
        said = done.stderr.strip().splitlines() or ["it never calls launch"]
        raise UserError(f"train/{path.name} states no facts: {said[-1]}")
    return done.stdout.split("\0")[:-1]


def environment() -> dict[str, str]:
    """Variables named by themselves, and none of the caller's: GPUS=2 must not change the table."""
    names = [*(name[1:] for name in (*BASES, *DATASETS)), *FOLDERS]
    fixed = {"PATH": os.environ.get("PATH", os.defpath), "LAUNCH_FACTS": "1"}
    return fixed | {name: f"${name}" for name in names}


def run_of(facts: Asked, head: header.Header) -> Run:
    """Return the run in the logbook's terms, from what `launch` was given."""
    flags, made = facts.flags, settings.of_words(facts.flags)
    base, data = flags.get("pretrained_model_name_or_path", ""), flags.get("in_json", "")
    data = DATASETS.get(data, Path(data).name)
    return Run(
        run=facts.run,
        session=head.session,
        script=facts.script,
        base=base_name(base),
        data=data,
        gpus=facts.processes,
        unet_percent=made.unet_percent,
        tte=("on" if UNET in made.rates else "only") if made.encoders_train else "off",
        optimizer=made.optimizer,
        lr_unet=made.rates.get(UNET, 0.0),
        lr_te=next((rate for name, rate in made.rates.items() if name != UNET), None),
        batch_size=made.batch_size,
        ga=made.accumulation,
        epochs=made.epochs,
        steps=total_steps(made, data, facts.processes),
        parent=facts.parent,
        start_step=made.start_step,
        stop_step=made.stop_step,
        ramdisk=facts.ramdisk,
        numa=facts.numa,
        extensions=list(made.plugins),
        words=head.words,
        flags=flags.as_dict(),
    )


def base_name(base: str) -> str:
    """Return how a table names a base: by its alias, as a blend, by run and checkpoint, or by its file."""
    if blend.is_blend(base):
        return base
    run = blend.run_beside(base)
    return BASES.get(base) or (f"{run} {Path(base).stem}" if run else Path(base).name)


def total_steps(made: Settings, data: str, gpus: int) -> int | None:
    """Optimizer steps of the whole schedule; None where the images are unknown. Epochs beat steps, as in upstream."""
    if not made.epochs:
        return made.max_steps
    if data not in steps.IMAGES:
        return None
    return steps.count(steps.IMAGES[data], made.epochs, gpus, made.batch_size, made.accumulation).optimizer_steps


def with_bases(runs: dict[str, Run]) -> dict[str, Run]:
    """Return the same runs, with the base of each segment taken from the run at the head of its chain."""
    return {name: replace(run, base=runs[first(runs, name)].base) for name, run in runs.items()}


def first(runs: dict[str, Run], name: str) -> str:
    """Return the first ancestor of a run. UserError for a parent that is not there or a chain that closes."""
    seen = [name]
    while parent := runs[seen[-1]].parent:
        if parent not in runs or parent in seen:
            raise UserError(f"train/{seen[-1]}.sh: its PARENT={parent} is not a run before it")
        seen.append(parent)
    return seen[-1]
