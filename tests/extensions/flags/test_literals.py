"""Values of flags that are Python literals, and what is none."""

import pytest

from extensions.base.errors import UserError
from extensions.flags.literals import literals


def test_literals():
    words = ["weight_decay=0.01", "betas=.9,.99", "relative_step=False", "name='a=b'"]
    expected = {"weight_decay": 0.01, "betas": (0.9, 0.99), "relative_step": False, "name": "a=b"}
    assert literals("optimizer_args", words) == expected
    assert literals("optimizer_args", None) == {}


@pytest.mark.parametrize("word", ["weight_decay", "weight_decay=", "name=bare", "a=1+", "f=print(1)"])
def test_no_literal(word):
    with pytest.raises(UserError, match="--lr_scheduler_args") as caught:
        literals("lr_scheduler_args", [word])
    assert repr(word) in str(caught.value)
