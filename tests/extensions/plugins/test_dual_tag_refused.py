"""Flags of dual_tag that say nothing together, and values that are none."""

import re

import pytest

from extensions.base.errors import UserError
from extensions.plugins import dual_tag
from tests.helpers.dual_tag_cases import ALL_DRAWS, flags
from tests.helpers.plugin_flags import parsed

BOTH_DROPS = {"dual_tag_drop_caption": 0.6, "dual_tag_drop_tags": 0.5}
REFUSED = [
    ({"dual_tag": None}, "dual_tag is listed without --dual_tag"),
    ({"dataset_class": None}, "dual_tag needs --dataset_class"),
    ({"caption_separator": "and"}, "--caption_separator='and'"),
    ({"caption_dropout_rate": 2.0}, "--caption_dropout_rate=2.0"),
    (BOTH_DROPS, "more than 1 together"),
    ({"dual_tag": "pick", "dual_tag_order": "tags_first"}, "--dual_tag_order has no effect with --dual_tag=pick"),
    ({"dual_tag": "pick", "dual_tag_drop_caption": 0.1}, "--dual_tag_drop_caption has no effect"),
    ({"dual_tag": "tags", "dual_tag_drop_tags": 0.1}, "--dual_tag_drop_tags has no effect with --dual_tag=tags"),
    ({"dual_tag": "caption", "dual_tag_shuffle": True}, "--dual_tag_shuffle changes tags"),
    ({"dual_tag": "caption", "dual_tag_drop_each_tag": 0.1}, "--dual_tag_drop_each_tag changes tags"),
    ({"dual_tag": "caption", "dual_tag_keep_first": 1}, "--dual_tag_keep_first changes tags"),
    ({"dual_tag_keep_first": 1}, "--dual_tag_keep_first has no effect without"),
]


@pytest.mark.parametrize(("given", "says"), REFUSED, ids=[says for _, says in REFUSED])
def test_contradictions_are_one_line(given, says):
    plugin = dual_tag.Plugin()
    plugin.check_arguments(args=flags())
    plugin.check_arguments(args=flags(**ALL_DRAWS, dual_tag_keep_first=2))
    with pytest.raises(UserError) as caught:
        plugin.check_arguments(args=flags(**given))
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("--dual_tag_drop_caption=1.5", "'1.5' is not a probability from 0 to 1"),
        ("--dual_tag_drop_tags=-0.1", "'-0.1' is not a probability from 0 to 1"),
        ("--dual_tag_drop_each_tag=nan", "'nan' is not a number"),
        ("--dual_tag_keep_first=-1", "'-1' is not a whole number from 0 up"),
        ("--dual_tag_keep_first=1.5", "'1.5' is not a whole number from 0 up"),
        ("--dual_tag=both", "invalid choice: 'both'"),
        ("--dual_tag_order=tags", "invalid choice: 'tags'"),
    ],
)
def test_values_that_are_none(word, says):
    with pytest.raises(UserError, match=re.escape(f"{word.partition('=')[0]}: {says}")) as caught:
        parsed("dual_tag", word)
    assert "\n" not in str(caught.value)
