"""Makes a run's base that is a blend, on first use: --pretrained_model_name_or_path="blend(base, 25112201, 0.5)".

The file stands in `blends/` beside the outputs of the runs, its recipe in it. Whoever uses it later has its parents'
digests checked: a blend of what is there no longer is not used unseen.
"""

import json
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from extensions.averages import alike, parents
from extensions.averages.parents import Parent
from extensions.base import locks
from extensions.base.errors import UserError
from extensions.base.paths import shown
from extensions.flags import blend as written
from extensions.launch.run_folder import fingerprint
from extensions.launch.stages import Asked, changed
from extensions.model import prediction
from extensions.model.checkpoint import read_header

FLAG = "pretrained_model_name_or_path"
FOLDER = "blends"  # beside the folders of the runs' checkpoints
MAKER = (sys.executable, "-m", "extensions.averages.blending")  # torch is the child's


def settle(asked: Asked) -> Asked:
    """Return the launch with the file of a blend in its flags; nothing is read or made. UserError for none.

    A launch whose base is a file comes back as it is.
    """
    text = asked.flags.get(FLAG)
    if not isinstance(text, str) or not written.is_blend(text):
        return asked
    made = written.of_text(text, f"--{FLAG}")
    name = made.file_name + ("-tiny" if asked.tiny else "")
    path = asked.output.parent / FOLDER / f"{name}.safetensors"
    where = f"is {path}" if path.is_file() else f"is made on first use: {path}"
    return changed(
        asked, flags=asked.flags.with_(FLAG, path), blend=made.text, notes=[f"base: {made.text} {where}"]
    )  # fmt: skip


def ensure(asked: Asked) -> list[str]:
    """Make the blend that a run begins with, where it is not there; what is to be told.

    UserError where it cannot be made, and where it was made of other files than there are now.
    """
    blend, path = written.of_text(asked.blend, f"--{FLAG}"), asked.path(FLAG)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locks.held(path.with_name(f".{path.name}.lock")):
        if path.is_file():
            return check(asked, blend, path)
        found = found_for(asked, blend)
        predicts = predicted(asked)
        laid = alike.layout([each.header for each in found], alike.WIDEST, predicts)
        made = parents.described(found, fingerprint)
        print(f"base: making {blend.text} …", flush=True)
        make(asked, blend, path, made, predicts)
        return [*laid.notes, f"base: {blend.text} was made: {shown(path)}"]


def found_for(asked: Asked, blend: written.Blend) -> list[parents.Found]:
    """Return the parents of a blend. A run's checkpoints are where this run's would be."""
    names = [(name, written.run_of(name)) for name in blend.names]
    return parents.find(names, lambda run: [asked.output.with_name(f"model_out_{run}")])


def predicted(asked: Asked) -> str:
    """Return what the blend is marked for: where the run is to teach its base another prediction, that one."""
    if prediction.CHANGE not in asked.flags:
        return ""
    return alike.predicted(asked.settings.prediction, asked.settings.zero_snr)


def make(asked: Asked, blend: written.Blend, path: Path, made: list[Parent], predicts: str) -> None:
    """Let a child make the file. UserError: what it says. A kill leaves one file, which the next try takes."""
    under_way = path.with_name(f".{path.stem}.node{asked.machines.rank}.part.safetensors")
    job = {
        "out": str(path), "temporary": str(under_way), "paths": [each.path for each in made],
        "factors": blend.factors, "dtype": alike.WIDEST, "predicts": predicts,
        "metadata": parents.recipe(blend.text, blend.factors, made),
    }  # fmt: skip
    done = subprocess.run(MAKER, input=json.dumps(job), stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode == 0:
        return
    with suppress(ValueError, TypeError, KeyError):
        raise UserError(f"--{FLAG}: {json.loads(done.stdout)['error']}")
    raise UserError(f"--{FLAG}: {blend.text} was not made (exit code {done.returncode}); give the command again")


def check(asked: Asked, blend: written.Blend, path: Path) -> list[str]:
    """Hold a blend that is there against its parents. UserError where one is another file now.

    Parents that were removed since cannot be held against it, which is told: the blend stands for itself.
    """
    header = read_header(path)
    recipe = parents.recipe_in(header)
    again = f"move {path} away to have it made anew"
    if recipe is None or recipe.get("blend") != blend.text:
        raise UserError(f"{path} is not {blend.text}, whose name it has; {again}")
    try:
        found = found_for(asked, blend)
    except UserError as error:
        return [f"base: {blend.text} is used as it was made; its parents cannot be checked any more: {error}"]
    if unlike := parents.differing(recipe, parents.described(found, fingerprint)):
        raise UserError(f"{path} was made of other files than there are now: {unlike}; put them back, or {again}")
    return []
