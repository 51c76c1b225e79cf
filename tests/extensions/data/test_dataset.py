"""Batches: one size each, no row lost, none twice."""

import argparse

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.data.dataset import NOT_HERE, Batches, require_supported
from extensions.errors import UserError

SIZES = st.lists(st.tuples(st.sampled_from([64, 128, 192]), st.sampled_from([64, 128])), min_size=1, max_size=60)


@given(SIZES, st.integers(1, 5), st.integers(0, 3))
def test_batches_cover_every_row_once(sizes, batch_size, seed):
    widths, heights = (np.array(side) for side in zip(*sizes, strict=True))
    batches = Batches(widths, heights, batch_size, seed)
    rows = [int(row) for batch in batches for row in batch]
    assert sorted(rows) == list(range(len(sizes)))
    for batch in batches:
        assert 1 <= len(batch) <= batch_size
        assert len({sizes[int(row)] for row in batch}) == 1
    # Only the last batch of a bucket may be short.
    assert len(batches) == sum(-(-sizes.count(size) // batch_size) for size in set(sizes))


def test_same_seed_same_batches():
    sides = np.array([64, 128] * 10)
    first, again, other = (Batches(sides, sides, 3, seed) for seed in (1, 1, 2))
    assert [b.tolist() for b in first] == [b.tolist() for b in again]
    assert [b.tolist() for b in first] != [b.tolist() for b in other]


def given_flags(**flags):
    return argparse.Namespace(**{"enable_wildcard": False, "in_json": "a", "train_data_dir": "b"} | flags)


def test_flags_that_would_be_ignored_are_refused():
    require_supported(given_flags(enable_wildcard=True, keep_tokens=0), ["dual_tag"])
    for flag in NOT_HERE:
        with pytest.raises(UserError, match=f"--{flag} "):
            require_supported(given_flags(**{flag: 1}), ["dual_tag"])


@pytest.mark.parametrize("flags", [{"enable_wildcard": True}, {"in_json": None}, {"train_data_dir": None}])
def test_flags_that_need_something_else(flags):
    with pytest.raises(UserError):
        require_supported(given_flags(**flags), [])


@pytest.mark.upstream
def test_every_refused_flag_is_one_of_upstreams(patched):
    import sdxl_train

    known = {action.dest for action in sdxl_train.setup_parser()._actions}
    assert set(NOT_HERE) - known == set()
