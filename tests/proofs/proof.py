"""make proof: a small SDXL learns eight pictures by their texts, and diffusers' own pipeline draws them.

A falling loss is no proof that a model learns its texts. Here each row trains one model with the real launcher and
trainer, exports it as a user does, lets diffusers' SDXL pipeline draw each of the eight texts from four seeds, and
looks for the nearest training latents: for at least 7 draws of 8 they must be the text's own. Of two texts that are
equal in their first 75 tokens, and of two pictures that have tags beside an empty caption, each gives its own where
the plugins train them; by upstream's rules they cannot be told apart.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from extensions.base.errors import UserError
from extensions.base.paths import ROOT, RUNTIME
from extensions.base.reporting import exit_code_of_app
from extensions.launch.stages import SD_SCRIPTS, TRAINERS
from extensions.resume import states
from extensions.upstream import tree
from tests.proofs import pictures, shown
from tests.proofs.learned import Judged, equal, judged, not_frozen

LAUNCHER = Path(__file__).with_name("learn.sh")
# Predicting v to zero terminal SNR, a model is asked for the whole picture where sampling begins. One that predicts
# the noise never is: it reads a picture's brightness from what is left of it there (arXiv 2305.08891).
V = "--v_parameterization --zero_terminal_snr"
EPSILON = "--min_snr_gamma=5"
FLOW = "--extensions=dual_tag,token_chunks,objective,resume_at_step,save_states,record_run --objective=flow"
PLUGINS = "unet_percent,dual_tag,token_chunks,resume_at_step,save_states,record_run"

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@dataclass(frozen=True)
class Row:
    """One training. of: the row whose state half way it goes on from. upstreams: data set and cut are upstream's.

    means: whether a picture's brightness counts where the nearest is looked for.
    """

    name: str
    what: str
    flags: str
    steps: int
    of: str = ""
    upstreams: bool = False
    means: bool = True

    @property
    def words(self) -> str:
        return f"{self.name}: {self.what}"


ROWS = (
    Row("learned", "a1111's chunks, dual tags", V, 800),
    Row("upstream", "the same by upstream's rules for texts",
        f"{V} --extensions=token_chunks --token_chunks=upstream", 800, upstreams=True),
    Row("share", "the first with 71 % of the U-Net", f"{V} --extensions={PLUGINS} --unet_percent=71", 800),
    Row("resumed", "the first from its state half way", V, 800, of="learned"),
    Row("epsilon", "the noise is predicted", EPSILON, 1200, means=False),
    Row("flow", "rectified flow is predicted", FLOW, 800),
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Where the rows are trained: the eight pictures, a folder, and the trainer."""

    ready: pictures.Prepared
    folder: Path
    trainer: str

    def checkpoint(self, name: str) -> Path:
        return self.folder / name / "model_out_learn" / "last.safetensors"


def train(bench: Bench, row: Row) -> None:
    """Train a row by its launcher. UserError with its last words where it fails."""
    output = bench.folder / row.name
    output.mkdir()
    variables = {
        "PROOF": bench.ready.folder, "PROOF_STEPS": row.steps, "OUTPUT": output, "LOGS": output / "logs",
        "TOKENIZERS": bench.ready.tokenizers, "CPU": 1, "TRAINER": bench.trainer, "ARGS": row.flags,
    }  # fmt: skip
    if row.upstreams:
        variables["UPSTREAMS_OWN"] = 1
    if row.of:
        half_way(bench.checkpoint(row.of).parent, bench.checkpoint(row.name).parent, row.steps)
        variables["RESUME"] = "auto"
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    done = subprocess.run([LAUNCHER], env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    (output / "said.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        said = next((line for line in lines if line.startswith("error: ")), lines[-1])
        raise UserError(f"row {row.name} fails: {said.removeprefix('error: ')}")


def half_way(whole: Path, output: Path, steps: int) -> None:
    """Copy a run as it stood half way: its state of then, no later one, no checkpoint."""
    state = states.name_of(steps // 2)
    copied = states.folder_of(output)
    copied.mkdir(parents=True)
    shutil.copytree(states.folder_of(whole) / state, copied / state)


def judge(bench: Bench, row: Row) -> Judged:
    """Judge a row by its checkpoint."""
    checkpoint = bench.checkpoint(row.name)
    if row.of:
        return Judged(
            None, ("", "", ""), "" if equal(bench.checkpoint(row.of), checkpoint) else f"differs from {row.of}"
        )
    found = judged(checkpoint, bench.ready, checkpoint.parent / "exported", row.upstreams, row.means)
    if "unet_percent" in row.flags and (wrong := not_frozen(bench.ready.base, checkpoint)):
        return replace(found, wrong=f"{found.wrong} {wrong}")
    return found


def chosen(trainer: str) -> list[Row]:
    """The rows of a trainer: upstream's data set is sd-scripts' alone."""
    if trainer not in TRAINERS:
        raise UserError(f"TRAINER={trainer}: there are {' and '.join(TRAINERS)}")
    return [row for row in ROWS if trainer == SD_SCRIPTS or not row.upstreams]


def prove(bench: Bench, rows: list[Row], tell=print) -> dict[Row, Judged]:
    """Train the rows, two at a time (each has one thread), a resumed one behind its origin, and judge them."""

    def one_after_the_other(first: Row) -> None:
        for row in (first, *(row for row in rows if row.of == first.name)):
            train(bench, row)
            tell(f"trained: {row.words}")

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one_after_the_other, [row for row in rows if not row.of]))
    return {row: judge(bench, row) for row in rows}


@app.command()
def main(
    trainer: Annotated[str, typer.Option()] = SD_SCRIPTS,
    out: Annotated[str, typer.Option()] = "",
) -> int:
    """Train, draw, print the table and write the picture; 1 where a row does not hold."""
    rows = chosen(trainer)
    if trainer == SD_SCRIPTS:
        tree.ensure()
    picture = Path(out or RUNTIME / "proof") / "proof.png"
    picture.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="proof-") as folder:
        bench = Bench(pictures.made(Path(folder) / "set"), Path(folder), trainer)
        results = prove(bench, rows, lambda line: print(line, flush=True))
        table = Table("row", "", "plain texts", "long texts", "tags alone", "")
        for row, found in results.items():
            table.add_row(row.name, row.what, *found.right, found.wrong or "holds")
        Console(width=160).print(table)
        shown.write(picture, bench.ready, {row.words: found.drawn for row, found in results.items() if found.drawn})
    print(f"the picture: {picture}")
    return int(any(found.wrong for found in results.values()))


if __name__ == "__main__":
    sys.exit(exit_code_of_app(app, sys.argv[1:]))
