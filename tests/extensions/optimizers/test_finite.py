"""NaN and infinity in any tensor, of any dtype, and one read for all of them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from extensions.optimizers.finite import finite

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


class Reads(TorchDispatchMode):
    """Counts the numbers that are read off a device."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function is torch.ops.aten._local_scalar_dense.default
        return function(*args, **(kwargs or {}))


@given(
    st.lists(st.tuples(st.sampled_from(DTYPES), st.integers(1, 9)), min_size=1, max_size=5),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), None]),
    st.randoms(use_true_random=False),
)
def test_one_bad_number_anywhere_is_found(kinds, bad, random):
    tensors = [torch.full((size,), torch.finfo(dtype).max, dtype=dtype) for dtype, size in kinds]
    if bad is not None:
        chosen = random.choice(tensors)
        chosen[random.randrange(len(chosen))] = bad
    assert finite(tensors) == (bad is None)


def test_nothing_is_finite():
    assert finite([])


@pytest.mark.parametrize("count", [1, 300])
def test_one_number_is_read_however_many_tensors_there_are(count):
    with Reads() as reads:
        assert finite([torch.ones(3, dtype=dtype) for dtype in DTYPES for _ in range(count)])
    assert reads.count == 1
