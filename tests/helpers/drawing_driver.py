"""python drawing_driver.py TREE SCRIPT [flags]: sd-scripts as extensions.upstream starts it, timestep and noise drawn
by sample.

sd-scripts' processes all draw from the run's seed, one after the other: what a sample gets depends on the number of
processes. Here it depends on the sample's text alone, so that they can be held against one process.
"""

import sys
import zlib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch

from extensions import manager
from extensions.hookspecs import hookimpl
from extensions.upstream.__main__ import run


class DrawBySample:
    """Seeds where the texts are encoded, which both of upstream's loops do just before they draw."""

    @hookimpl(tryfirst=True)
    def encode_tokens(self, input_ids):
        torch.manual_seed(zlib.crc32(input_ids[0].numpy().tobytes()))


install = manager.install


def install_with_draws(names: list[str]) -> manager.Manager:
    made = install(names)
    made.register("(draws by sample)", DrawBySample())
    return made


manager.install = install_with_draws
sys.exit(run(sys.argv[1:]))
