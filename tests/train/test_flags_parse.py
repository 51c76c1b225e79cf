"""Every launcher's flags, through upstream's real parser and every plugin's own checks."""

import importlib
from pathlib import Path

import pytest

from extensions import manager
from extensions.launch import asked as request
from extensions.logbook.registry import ask
from extensions.trainer import arguments

LAUNCHERS = sorted(Path(__file__).parents[2].glob("train/[0-9]*.sh"))


@pytest.fixture(scope="module")
def trainers(patched):
    """Upstream's parsers by script."""
    return {name: importlib.import_module(name.removesuffix(".py")) for name in ("sdxl_train.py", "fine_tune.py")}


@pytest.mark.upstream
@pytest.mark.parametrize("launcher", LAUNCHERS, ids=lambda path: path.stem)
def test_flags_are_the_trainers(launcher, trainers):
    asked = request.read(ask(launcher), environment={})
    script, words = asked.script, asked.flags.words()
    plugins = manager.Manager(arguments.listed_plugins(words))
    parser = arguments.extend(trainers[script].setup_parser(), plugins)
    args = parser.parse_args(words)
    plugins.hook.check_arguments(args=args)
    trainers[script].train_util.verify_training_args(args)
    for name in asked.flags.values:
        assert hasattr(args, name), f"--{name} is read by nothing"
    assert args.in_json and args.dataset_class == "extensions.data.dataset.LatentsDataset"
