"""A digest in the JSON that it is of."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extensions.base.sealed import opened, sealed

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text().filter(lambda name: name != "digest"), VALUES, max_size=4)


@given(OBJECTS, st.sampled_from([None, 1, 4]))
def test_what_was_written_is_read(content, indent):
    text = json.dumps(sealed(content), indent=indent)
    assert opened(json.loads(text), required=True) == content


@given(OBJECTS, OBJECTS)
def test_another_content_under_the_same_digest_is_refused(content, other):
    changed = other | {"digest": sealed(content)["digest"]}
    if json.dumps(other, sort_keys=True) != json.dumps(content, sort_keys=True):
        with pytest.raises(ValueError, match="its checksum is wrong"):
            opened(changed)


def test_what_has_none_is_of_before_or_refused():
    assert opened({"a": 1}) == {"a": 1}
    with pytest.raises(ValueError, match="its checksum is wrong"):
        opened({"a": 1}, required=True)
