"""A disk that is full for each file that a run writes, in turn: one line, what was good is whole, and it goes on.

tests/helpers/full_disk_kinds.py is the table. A run that writes a file which no kind of it knows fails here.
"""

import json
import os
import re
import shlex
import shutil
from functools import cache

import pytest
import torch
from safetensors.torch import load_file

from extensions.base.saving import UNDER_WAY as HALF_CHECKPOINT
from extensions.resume import states
from tests.helpers.full_disk_kinds import ALSO, EARLY, LOADED, OTHERS, UNDER_WAY, Kind
from tests.helpers.full_disks import Played, built, play, unknown
from tests.helpers.launching import Finished, launch

RUN = "24120801"
FLAGS = "--save_every_n_steps=2 --states_every_n_steps=1 --log_with=tensorboard"
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
UPSTREAM = [pytest.mark.upstream, pytest.mark.slow]
# Where two runs of the same trainer meet; held before anything of a run is made, and empty.
LOCKS = ["/[.]git/sd-scripts.lock$", "/sd-scripts-runtime/patched.lock$"]
DAILY = {"run folder-make"}  # with the reference trainer


def cases(kinds: list[Kind]) -> list:
    found = []
    for kind in kinds:
        quick = str(kind) in DAILY
        for trainer in kind.trainers:
            marks = UPSTREAM if trainer == "sd-scripts" else [] if quick else [pytest.mark.slow]
            found.append(pytest.param(trainer, kind, marks=marks, id=f"{trainer}-{kind}"))
    return found


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return built(tmp_path_factory.mktemp("library"))


@pytest.fixture
def memory():
    """A folder of this test in shared memory."""
    folder = f"/dev/shm/full-disk-{os.getpid()}"
    yield f"{folder}/ram"
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data(standins, tmp_path):
    """Flags of data of its own, that have no index yet, and of tokenizers that are not there yet."""
    folder = tmp_path / "data"
    shutil.copytree(standins["data_sdxl"], folder / "latents")
    shutil.copy(standins["meta_sdxl"], folder / "meta_lat.json")
    flags = {"in_json": folder / "meta_lat.json", "train_data_dir": folder / "latents"}
    flags["tokenizer_cache_dir"] = folder / "tokenizers"
    return " ".join(f"--{name}={shlex.quote(str(path))}" for name, path in flags.items())


@pytest.fixture(scope="module")
def whole(library, standins, tmp_path_factory):
    """The unbroken run, written down: by trainer and settings, each run once."""

    @cache
    def made(trainer: str, settings: frozenset) -> Played:
        folder = tmp_path_factory.mktemp("whole") / "run"
        played = play(library, folder, None, RUN, **given(trainer, dict(settings)))
        assert played.done.code == 0, played.done.said[-3000:]
        return played

    return lambda trainer, settings=(): made(trainer, frozenset(dict(settings).items()))


def given(trainer: str, settings: dict, flags: str = "") -> dict:
    words = f"{FLAGS} {flags}".strip()
    return {"PROFILE": "tiny", "TINY_STEPS": 4, "TRAINER": trainer, "ARGS": words} | settings


def told(said: str) -> list[str]:
    return [line for line in said.replace("\r", "\n").splitlines() if line.startswith("error: ")]


def require_whole(done: Finished, kind: Kind) -> None:
    """What stands under a final name holds, and nothing half made is left."""
    folder = states.folder_of(done.output)
    state = states.newest_good(folder) if folder.exists() else None
    assert (state.optimizer_steps if state else 0) >= (kind.steps or 0)
    for path in folder.glob("step*"):
        states.verify(states.read(path))
    assert not list(folder.glob(".step*")) and not (done.output / HALF_CHECKPOINT).exists()
    for path in done.output.glob("*.safetensors"):
        assert load_file(path)
    for folder in done.output.parent.glob(f"logs/{RUN}/*"):
        for path in folder.glob("*.json"):
            assert json.loads(path.read_text(encoding="utf-8"))
        assert not list(folder.glob(".*.part*"))
        lines = folder / "metrics.jsonl"
        for line in lines.read_text(encoding="utf-8").splitlines() if lines.exists() else []:
            assert json.loads(line)


def require_line(played: Played, kind: Kind) -> None:
    done = played.done
    assert played.hits, "nothing was refused: the run writes no such file any more"
    early = kind.code == 75 and not states.found(states.folder_of(done.output))[0]
    assert done.code == (2 if early else kind.code) and "Traceback" not in done.said, (done.code, done.said[-3000:])
    lines = told(done.said)
    assert len(lines) == {0: 0, 2: 1, 75: 2}[done.code], lines
    assert kind.line in (done.said if not kind.code else "\n".join(lines)), lines or done.said[-2000:]


def require_equal(done: Finished, other: Finished) -> None:
    """The last state, and the last checkpoint, to the bit."""
    one, two = (states.newest_good(states.folder_of(each.output)) for each in (done, other))
    assert one.optimizer_steps == two.optimizer_steps and one.facts.files == two.facts.files
    mine, theirs = (load_file(each.output / "last.safetensors") for each in (done, other))
    assert mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


@pytest.mark.parametrize(("trainer", "kind"), cases(EARLY))
def test_refused_before_anything_loads(trainer, kind, library, standins, tmp_path):
    played = play(library, tmp_path / "run", kind.full, RUN, **given(trainer, kind.settings))
    require_line(played, kind)
    assert "trainable:" not in played.done.said and not states.folder_of(played.done.output).exists()


@pytest.mark.parametrize(("trainer", "kind"), cases([kind for kind in LOADED if kind.code]))
def test_refused_before_it_trains(trainer, kind, library, standins, tmp_path):
    played = play(library, tmp_path / "run", kind.full, RUN, **given(trainer, kind.settings))
    require_line(played, kind)
    require_whole(played.done, kind)
    assert not list(played.done.output.glob("*.safetensors")) and not list(played.done.output.glob("states/*"))


@pytest.mark.parametrize(
    ("trainer", "kind"), cases([*(kind for kind in LOADED if not kind.code), *UNDER_WAY, *OTHERS])
)
def test_it_ends_in_a_line_and_goes_on_to_the_same_bits(trainer, kind, library, whole, data, memory, tmp_path):
    flags = data if kind in OTHERS else ""
    settings = given(trainer, kind.settings, flags) | {"RAMDISK_DIR": memory}
    played = play(library, tmp_path / "run", kind.full, RUN, **settings)
    require_line(played, kind)
    require_whole(played.done, kind)
    done = played.done
    if done.code or not (done.output / "last.safetensors").is_file():
        done = launch(
            RUN, tmp_path / "run", RESUME="auto" if states.found(states.folder_of(done.output))[0] else "", **settings
        )
        assert done.code == 0, done.said[-3000:]
    require_equal(done, whole(trainer, {k: v for k, v in kind.settings.items() if k != "RAMDISK"}).done)


@pytest.mark.slow
@pytest.mark.parametrize("trainer", TRAINERS)
def test_every_file_that_a_run_writes_is_of_a_kind(trainer, library, data, memory, tmp_path):
    """Two processes, data that are new, copies in memory, a corrupt sample: all that a run can write."""
    settings = given(trainer, {"GPUS": 2, "RAMDISK": 1, "RAMDISK_DIR": memory}, data)
    played = play(library, tmp_path / "run", None, RUN, **settings)
    assert played.done.code == 0, played.done.said[-3000:]
    mine = [kind for kind in [*EARLY, *LOADED, *UNDER_WAY, *OTHERS] if trainer in kind.trainers]
    patterns = [kind.full.pattern for kind in mine] + LOCKS + ALSO
    made = [re.sub(r"/[.]step\d+", "/.step00000003", path) for path in played.made]  # the one that the kinds name
    assert unknown(made, patterns) == set()
