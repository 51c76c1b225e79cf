"""The plugin that extensions/README.md gives for an example, as it stands there, trained with each trainer."""

import os
import re
import shlex
import textwrap

import pytest

from extensions.base.paths import ROOT
from tests.helpers.launching import launch

TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]
SECTION = (ROOT / "extensions" / "README.md").read_text(encoding="utf-8").split("## A plugin of your own")[1]
FILE = re.search(r"`(my_package/\w+\.py)`:\n", SECTION)[1]
CODE = textwrap.dedent(re.search(r"\n((?: {4}.*\n|\n)+?)\n {4}PYTHONPATH=", SECTION)[1])
RUN, ARGS = re.search(r'make train RUN=(\d+) PROFILE=tiny.*?ARGS="(.*?)"', SECTION, re.S).groups()
LOSS = re.compile(r"\[hook\] micro_step_ended\(run=Run, loss=([^,)]+)")
PRINTED = re.compile(r"^micro-step (\d+): loss (\S+)$", re.M)


@pytest.mark.parametrize("trainer", TRAINERS)
def test_the_example_trains_and_prints_its_losses(trainer, standins, tmp_path):
    module = tmp_path / "a folder" / FILE
    module.parent.mkdir(parents=True)
    module.write_text(CODE, encoding="utf-8")
    there = os.pathsep.join(filter(None, [str(tmp_path / "a folder"), os.environ.get("PYTHONPATH")]))
    variables = {"PROFILE": "tiny", "TINY_STEPS": 2, "TRAINER": trainer, "ARGS": ARGS, "PYTHONPATH": there}
    done = launch(RUN, tmp_path / "output", EXTENSIONS_TRACE=1, **variables)
    assert done.code == 0, done.said[-3000:]
    every = int(re.search(r"--print_loss_every=(\d+)", ARGS)[1])
    losses = [float(loss) for loss in LOSS.findall(done.said)]
    wanted = [(str(step), f"{losses[step - 1]:.4f}") for step in range(every, len(losses) + 1, every)]
    assert len(losses) == 8 and len(wanted) == 8 // every  # two optimizer steps, accumulation 4
    assert PRINTED.findall((done.folder / "train.log").read_text(encoding="utf-8")) == wanted
    assert ",".join(done.manifest["extensions"]) in shlex.split(ARGS)[0]
