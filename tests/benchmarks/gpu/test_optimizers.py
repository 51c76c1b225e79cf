"""The tensors that are stepped are a run's, and a rate is changed in the form that it has."""

from math import prod

import pytest
import torch

from benchmarks.gpu import optimizers
from extensions.flags import settings
from extensions.flags.words import Flags
from extensions.plan import trained


def test_a_runs_tensors_at_71_percent():
    """Counted in the models of a run: 1,204 of the U-Net, 178 and 517 of the text encoders."""
    models = trained.models(settings.of_words(Flags.of_text(optimizers.TRAINED)))
    counts, elements = [], 0
    for model in models:
        shapes = [part for shape in model.trained for part in optimizers.apart(model.name, shape)]
        counts.append(len(shapes))
        elements += sum(map(prod, shapes))
    assert counts == [1204, 178, 517]
    assert elements == sum(model.trainable for model in models)


@pytest.mark.parametrize("rate", [1e-6, None, torch.tensor(1e-6)])
def test_a_rate_keeps_its_form(rate):
    found = optimizers.faster(rate)
    assert type(found) is type(rate) and (found is None or float(found) == pytest.approx(1e-2))
