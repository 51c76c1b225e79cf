"""The pin taken apart: functions that moved behind re-exports, as sd-scripts moved them in 2026."""

import json
import os
import subprocess
import sys

import pytest

from extensions.base.paths import ROOT
from extensions.upstream import seams
from tests.helpers.taken_apart import take_apart

pytestmark = [pytest.mark.upstream, pytest.mark.slow]
# What calls each other inside of the parts, or was imported by name.
LEFT = """
import importlib, json, sys
tree, how = sys.argv[1:]
sys.path.insert(0, tree)
from extensions.upstream import seam, seams, uses
if how == "old":
    from tests.helpers import old_way_driver
    seam.Seam.install = old_way_driver.install
seams.install()
trainers = [importlib.import_module(name) for name in ("sdxl_train", "fine_tune")]
seams.install()
left = {}
for each in seams.SEAMS:
    function = each.target()[2].__wrapped__
    left[each.path] = sorted(f"{module.__name__}.{name}" for module, name in uses.of_object(function, each.home()))
print(json.dumps(left))
"""


@pytest.fixture(scope="module")
def apart(patched, tmp_path_factory):
    return take_apart(patched, tmp_path_factory.mktemp("apart") / "tree")


def left(tree, how):
    """{seam: where upstream's own function still stands, and would be called}."""
    words = [sys.executable, "-c", LEFT, str(tree), how]
    variables = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_old_way_leaves_functions_unwrapped_where_they_are_called(apart):
    found = left(apart, "old")
    assert "sdxl_train.get_optimizer" in found["library.train_util.get_optimizer"]
    assert "library.sdxl_train_util_parts._load_target_model" in found["library.sdxl_train_util._load_target_model"]
    assert "library.model_util_parts.is_safetensors" in found["library.model_util.is_safetensors"]


def test_a_seam_is_found_wherever_it_is_called(apart):
    assert left(apart, "ours") == {each.path: [] for each in seams.SEAMS}
