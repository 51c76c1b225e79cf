"""Tensors in one buffer: each aligned, its values kept; known again by where they lie."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from extensions.optimizers.flat import ALIGNED, Flat

SHAPES = st.lists(st.lists(st.integers(0, 9), max_size=4).map(tuple), max_size=6)


@given(SHAPES, st.sampled_from([torch.bfloat16, torch.float32]))
def test_views_are_the_tensors_in_fp32_and_aligned(shapes, dtype):
    tensors = [torch.randn(shape).to(dtype) for shape in shapes]
    flat = Flat(tensors)
    assert all(torch.equal(view, tensor.float()) for view, tensor in zip(flat.views, tensors, strict=True))
    assert all(start % ALIGNED == 0 for start in flat.starts) and len(flat.buffer) % ALIGNED == 0
    flat.buffer.zero_()
    assert not any(view.any() for view in flat.views), "they are the buffer"


def test_other_strides_keep_their_values():
    images = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    view = Flat([images.bfloat16()]).views[0]
    assert view.is_contiguous() and torch.equal(view, images.bfloat16().float())


def test_its_own_views_are_known_and_others_are_copied():
    flat = Flat([torch.ones(3), torch.ones(2, 2)])
    assert flat.holding(flat.views) is flat
    other = flat.holding([flat.views[0], torch.full((2, 2), 5.0)])
    assert other is not flat and torch.equal(other.views[1], torch.full((2, 2), 5.0))
    assert flat.holding(flat.views[:1]) is not flat
    assert Flat([]).holding([torch.ones(1)]).views[0].item() == 1
