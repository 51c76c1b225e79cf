"""Start runs as a user does: the launcher script, in its own process, with its own output folder."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from extensions.base.paths import LAUNCHERS


@dataclass
class Finished:
    """What a run left."""

    code: int
    said: str
    output: Path
    folder: Path | None

    @property
    def manifest(self) -> dict:
        return json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))

    @property
    def metrics(self) -> list[dict]:
        return [json.loads(line) for line in (self.folder / "metrics.jsonl").read_text().splitlines()]


def launch(run: str, output: Path, seconds: int = 600, **environment) -> Finished:
    """Run `train/<run>.sh` with variables; checkpoints and run folders go below `output`."""
    variables = (
        os.environ
        | {"OUTPUT": str(output), "LOGS": str(output / "logs")}
        | {k: str(v) for k, v in environment.items()}
    )
    done = subprocess.run(
        [str(LAUNCHERS / f"{run}.sh")], env=variables, capture_output=True, text=True, timeout=seconds, check=False
    )
    said = done.stdout + done.stderr
    named = [line.split(": ", 1)[1] for line in done.stdout.splitlines() if line.startswith("run folder: ")]
    folder = Path(named[0]) if named else None
    return Finished(done.returncode, said, output / f"model_out_{run}", folder)
