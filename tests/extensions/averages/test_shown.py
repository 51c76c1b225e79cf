"""An average in the models for a while, on two real processes: swapped in whole, and out bit for bit."""

import os
import re
import subprocess
import sys

import pytest
import torch

from extensions.averages.profiles import Power
from extensions.averages.ranks import Ranks
from extensions.averages.shown import shown
from extensions.base.paths import ROOT
from tests.helpers.averaging import alone, flat, models, ranks_of, walk, whole

# Each rank: the same steps, its own share. DRIFT: the ranks' weights are no longer the same.
TWO = """
import sys
import torch
from accelerate import Accelerator
from extensions.averages import pieces
from extensions.averages.profiles import Power
from extensions.averages.ranks import Ranks
from extensions.averages.shown import shown
from extensions.averages.tracks import Tracks
from tests.helpers.averaging import flat, models, ranks_of, walk, whole

made = Accelerator(cpu=True)
ranks = Ranks(made)
dtype, drift = getattr(torch, sys.argv[1]), sys.argv[2] == "drift"
torch.manual_seed(1)
of = models(dtype, size=31)
one = ranks_of(of, 1, [Power(0.10)])[0]
tracks = Tracks(pieces.divided(pieces.trained(of), ranks.count), ranks.me, [Power(0.10)], 0)
for step in walk(of, 9):
    one.update(step)
    tracks.update(step)
if drift and ranks.me:
    with torch.no_grad():
        of.unet[1].weight[0, 0] += 1
before, bits = flat(of), [p.detach().clone() for p in of.unet.parameters()]
with shown(tracks, "0.10", ranks):
    wanted = torch.cat(list(whole([one], "0.10").values())).to(dtype).double()
    assert torch.equal(flat(of), wanted) and not torch.equal(wanted, before)
assert all(torch.equal(a, b) for a, b in zip(bits, of.unet.parameters()))
try:
    with shown(tracks, "0.10", ranks):
        raise KeyError
except KeyError:
    pass
assert all(torch.equal(a, b) for a, b in zip(bits, of.unet.parameters()))
assert ranks.alike(tracks.pieces) != drift
own = sum(p.place.count for p in tracks.own)
made.wait_for_everyone()
print(f"rank {ranks.me} of {ranks.count}: {own} of {sum(p.place.count for p in tracks.pieces)};", flush=True)
made.end_training()
"""


@pytest.mark.parametrize(("dtype", "how"), [("bfloat16", "alike"), ("float32", "drift")])
def test_two_processes_show_the_average_of_both_shares(dtype, how, tmp_path):
    (tmp_path / "two.py").write_text(TWO)
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    done = subprocess.run(
        [*command, str(tmp_path / "two.py"), dtype, how], capture_output=True, text=True, timeout=300, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    said = re.findall(r"rank \d of 2: \d+ of 1054;", done.stdout)  # two processes may share a line
    assert sorted(said) == ["rank 0 of 2: 527 of 1054;", "rank 1 of 2: 527 of 1054;"]


def test_frozen_weights_stay_and_an_update_under_way_is_waited_for():
    of = models()
    tracks = ranks_of(of, 1, [Power(0.05)])[0]
    frozen = of.unet[0].bias.detach().clone()
    for step in walk(of, 4):
        tracks.update(step)
    before = flat(of)
    with shown(tracks, "0.05", Ranks(alone())):
        assert torch.equal(of.unet[0].bias, frozen)
        assert torch.equal(flat(of), torch.cat(list(whole([tracks], "0.05").values())).double())
    assert torch.equal(flat(of), before)
