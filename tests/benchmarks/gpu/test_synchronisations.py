"""Waits are counted where they are: a read of a number by the line that reads it."""

import inspect
import json

import pytest
import torch

from benchmarks.gpu import synchronisations
from benchmarks.gpu.setting import LeftOutError, Setting


def reads_three_times() -> int:
    values = torch.arange(3)
    return sum(int(value) for value in values)  # the line


def test_reads_of_scalars_are_counted_by_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    counter = synchronisations.Counter()
    reads_three_times()
    counter.begin()
    reads_three_times()
    counter.end()
    reads_three_times()
    source, first = inspect.getsourcelines(reads_three_times)
    line = first + next(number for number, text in enumerate(source) if "# the line" in text)
    assert counter.found() == {"kind": "scalar reads", "places": {f"gpu/test_synchronisations.py:{line}": 3}}


class Card:
    """torch.cuda, as far as it is asked."""

    def __init__(self):
        self.mode, self.waited = 0, 0

    def get_sync_debug_mode(self):
        return self.mode

    def set_sync_debug_mode(self, mode):
        self.mode = mode

    def synchronize(self, *_):
        self.waited += 1


def test_torchs_warnings_and_explicit_waits_are_counted_on_a_card():
    import warnings

    card, counter = Card(), synchronisations.Counter()
    explicit = card.synchronize
    with pytest.warns(UserWarning, match="another"):
        counter.begin_cuda(card)
        assert card.mode == "warn"
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("another", stacklevel=1)
        card.synchronize()
        counter.end()
    assert sum(counter.places.values()) == 3 and card.waited == 1
    assert card.mode == 0 and card.synchronize == explicit


def setting(work, put: dict) -> Setting:
    return Setting("cpu", True, work, 0.0, put.__setitem__, lambda *_: None)


def test_what_the_trainers_counted_is_shown_side_by_side(tmp_path):
    with pytest.raises(LeftOutError):
        synchronisations.synchronisations(setting(tmp_path, {}))
    for name, places in (("ours", {"a.py:1": 4, "b.py:2": 1}), ("pristine", {"a.py:1": 4})):
        waits = {"kind": "scalar reads", "places": places}
        (tmp_path / f"{name}.json").write_text(json.dumps({"waits": waits}))
    found: dict = {}
    synchronisations.synchronisations(setting(tmp_path, found))
    assert found["scalar reads an optimizer step, ours"] == 5
    assert found["scalar reads an optimizer step, pristine"] == 4
    assert found["places, ours"] == {"a.py:1": 4, "b.py:2": 1}
