"""Nested state to JSON and tensors and back, without a pickle."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extensions.resume.trees import put_together, taken_apart

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=3).map(tuple)
        | st.dictionaries(st.integers() | st.text(), inner, max_size=4)
    ),
    max_leaves=20,
)


def through(value):
    tensors = {}
    tree = json.loads(json.dumps(taken_apart(value, tensors)))
    return put_together(tree, tensors)


@given(TREES)
def test_what_comes_back_is_what_went_in(value):
    assert repr(through(value)) == repr(value)


def test_numbers_that_json_has_not():
    far = through([float("inf"), -float("inf"), float("nan"), 0.1 + 0.2, np.float64(0.1), np.int32(7)])
    assert far[:2] == [float("inf"), -float("inf")] and far[2] != far[2]
    assert far[3] == 0.1 + 0.2 and far[4:] == [0.1, 7]


def test_tensors_keep_dtype_and_shape():
    value = {"state": {3: {"exp_avg": torch.randn(2, 3).bfloat16(), "step": torch.tensor(4.0)}}, "betas": (0.9, 0.99)}
    back = through(value)
    assert torch.equal(back["state"][3]["exp_avg"], value["state"][3]["exp_avg"])
    assert back["state"][3]["step"].shape == () and back["betas"] == (0.9, 0.99)


def test_a_quantised_tensor_of_torchao_is_taken_apart():
    from torchao.optim.subclass_4bit import OptimState4bit

    codes = torch.randint(0, 255, (64,), dtype=torch.uint8)
    value = OptimState4bit(codes, torch.randn(1), torch.randn(16), True, (128,))
    tensors = {}
    tree = json.loads(json.dumps(taken_apart(value, tensors)))
    assert all(type(tensor) is torch.Tensor for tensor in tensors.values()) and len(tensors) == 3
    back = put_together(tree, tensors)
    assert type(back) is OptimState4bit and torch.equal(back.dequantize(), value.dequantize())


@pytest.mark.parametrize("tree", [{"composed": "os:system", "parts": []}, {"composed": "torch:Tensor"}])
def test_a_file_may_not_name_any_class(tree):
    with pytest.raises(ValueError, match="may not name"):
        put_together(tree, {})


def test_what_cannot_be_kept_is_named():
    with pytest.raises(TypeError, match="state.a.0 is a object"):
        taken_apart({"a": [object()]}, {})
    with pytest.raises(ValueError, match="no dtype Tensor"):
        put_together({"dtype": "Tensor"}, {})
    with pytest.raises(ValueError, match="no \\['pickle'\\]"):
        put_together({"pickle": "…"}, {})
