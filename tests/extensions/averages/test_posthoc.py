"""Averages of any length made after a run, held against those that were tracked live beside it."""

import shutil
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from extensions.averages import posthoc, snapshots
from extensions.averages.profiles import Power
from extensions.averages.ranks import Ranks
from extensions.base.errors import UserError
from tests.helpers.averaging import alone, flat, models, ranks_of, save, walk, whole

LENGTHS = [0.02, 0.03, 0.07, 0.12, 0.18, 0.25]
STEPS = 1600


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, averages of LENGTHS at the end, where the weights began and ended), with 16 snapshots."""
    output = tmp_path_factory.mktemp("run")
    torch.manual_seed(3)
    of = models(size=23)
    start = flat(of)
    folder = snapshots.folder_of(output)
    folder.mkdir()
    snapshots.begin_launch(folder, 0)
    live = ranks_of(of, 1, [Power(length) for length in (0.05, 0.10, *LENGTHS)])[0]
    keeper = snapshots.Keeper(folder, Ranks(alone()), alone())
    marks = set(snapshots.marks(snapshots.spacing(0, STEPS, 16, 1), STEPS))
    for step in walk(of, STEPS, rate=2e-4):
        live.update(step)
        if step in marks:
            keeper.snapshot(live, 1)
    save(of, output / "last.safetensors", STEPS)
    return output, live, start, flat(of)


@pytest.fixture
def output(trained, tmp_path):
    shutil.copytree(trained[0], tmp_path / "copy")
    return tmp_path / "copy"


@pytest.mark.parametrize("length", [*LENGTHS, 0.05, 0.10])
def test_any_length_is_within_a_thousandth_of_one_that_was_tracked(trained, output, length):
    """Of the weights; and within a hundredth of the way that they went, which is harder."""
    _, live, start, end = trained
    name = Power(length).name
    path = posthoc.make(output, length)
    assert path == output / f"last.ema-{name}.safetensors"
    found, wanted = load_file(path), whole([live], name)
    ours = torch.cat([found[key].flatten() for key in wanted]).double()
    tracked = torch.cat(list(wanted.values())).double()
    assert (ours - tracked).norm() < 1e-3 * tracked.norm()
    assert (ours - tracked).norm() < 1e-2 * (end - start).norm()
    assert (ours - end).norm() > 10 * (ours - tracked).norm()  # the last weights would not do


def test_it_is_a_whole_checkpoint_with_its_recipe(output):
    path = posthoc.make(output, 0.07)
    base, made = load_file(output / "last.safetensors"), load_file(path)
    assert {name: (each.dtype, each.shape) for name, each in made.items()} == {
        name: (each.dtype, each.shape) for name, each in base.items()
    }
    frozen = "model.diffusion_model.0.bias"
    assert torch.equal(made[frozen], base[frozen])
    with safe_open(path, "pt") as file:
        said = file.metadata()
    assert said["sdxl_trainer.average"] == "0.07" and said["sdxl_trainer.average.made"].endswith("over 16 snapshots")
    assert said["modelspec.title"] == "last.ema-0.07" and said["sdxl_trainer.average.optimizer_steps"] == str(STEPS)


def test_an_earlier_step_has_the_snapshots_until_then(output):
    path = posthoc.make(output, 0.10, 800, output / "half.safetensors")
    with safe_open(path, "pt") as file:
        assert file.metadata()["sdxl_trainer.average.optimizer_steps"] == "800"
    assert posthoc.make(output, 0.10, 800).name == "last-step00000800.ema-0.10.safetensors"


@pytest.mark.parametrize("text", ["0.019", "0.26", "nan", "-1", "half", "", "inf", "1e-400"])
def test_lengths_that_two_tracks_do_not_give_are_refused(text):
    with pytest.raises(UserError, match="is not a length from 0.02 to 0.25"):
        posthoc.require_length(text)


def listing(folder):
    return sorted((str(path), path.stat().st_size) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("harm", "line"),
    [
        (lambda o: shutil.rmtree(o / "ema"), "holds no snapshots of averages"),
        (lambda o: [shutil.rmtree(path) for path in (o / "ema").glob("step*")], "holds no snapshots of averages"),
        (lambda o: (o / "last.safetensors").unlink(), "holds no checkpoint, which the averaged weights"),
        (lambda o: shutil.rmtree(o / "ema" / "began00000000"), r"began00000000 is damaged \(No such file"),
        (lambda o: (o / "ema" / "step00000400" / "share-0.safetensors").write_bytes(b""), "step00000400 is damaged"),
        (lambda o: save(models(size=5), o / "last.safetensors", STEPS), "give a checkpoint of the same run"),
        (lambda o: (o / "last.safetensors").write_bytes(b"\x80\x02 pickle"), "is a pickle"),
        (lambda o: (o / "last.ema-0.07.safetensors").write_bytes(
            (o / "last.safetensors").read_bytes()), "is there already; move it away"),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_refused_and_leaves_nothing(output, harm, line):
    harm(output)
    before = listing(output)
    with pytest.raises(UserError, match=line):
        posthoc.make(output, 0.07)
    assert listing(output) == before


def test_a_flipped_bit_of_a_snapshot_is_found_before_the_file_has_its_name(output):
    share = output / "ema" / "step00000800" / "share-0.safetensors"
    content = bytearray(share.read_bytes())
    content[-5] ^= 1
    share.write_bytes(content)
    before = listing(output)
    with pytest.raises(UserError, match="step00000800 is damaged .another checksum"):
        posthoc.make(output, 0.07)
    assert listing(output) == before


def test_a_step_without_a_snapshot_names_those_there_are(output):
    with pytest.raises(UserError, match=r"STEP=77: no snapshot of that optimizer step; there is 100, 200, "):
        posthoc.make(output, 0.07, 77)


LARGE = """
import resource, sys, pathlib, torch
from extensions.averages import posthoc
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
posthoc.make(pathlib.Path(sys.argv[1]), 0.07)
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_model(tmp_path):
    """80 million weights, 320 MB a file: less than a quarter of one file more than at the start."""
    of = models(size=9000)
    folder = snapshots.folder_of(tmp_path)
    folder.mkdir()
    snapshots.begin_launch(folder, 0)
    tracks = ranks_of(of, 1, [Power(0.05), Power(0.10)])[0]
    keeper = snapshots.Keeper(folder, Ranks(alone()), alone())
    for step in (1, 2):
        tracks.update(step)
        keeper.snapshot(tracks, 1)
    save(of, tmp_path / "last.safetensors", 2)
    done = subprocess.run(
        [sys.executable, "-c", LARGE, str(tmp_path)], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout) < 320, done.stdout
