"""All random streams of a process go on where they were."""

import random

import numpy as np
import torch

from extensions.resume import randomness
from extensions.resume.parts import Part, read


def drawn():
    normal = random.gauss(0, 1)  # each call leaves a second number for the next one
    return [normal, random.random(), *np.random.standard_normal(3), *torch.randn(3).tolist()]


def test_restored_from_a_file(tmp_path):
    random.gauss(0, 1), np.random.standard_normal()
    Part("streams.safetensors", randomness.streams()).write(tmp_path)
    first = drawn()
    assert drawn() != first
    randomness.restore(read(tmp_path / "streams.safetensors"))
    assert drawn() == first
