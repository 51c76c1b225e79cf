"""Texts that dual_tag composes of a caption and tags, with any of its flags."""

import argparse
import random

from extensions.plugins import dual_tag
from tests.helpers.plugin_flags import parsed

# The trainers' flags that the plugin reads, at upstream's defaults, over a data set of its kind.
TRAINERS = {"caption_dropout_rate": 0.0, "caption_separator": ",", "enable_wildcard": False, "dataset_class": "a.B"}
DEFAULTS = vars(parsed("dual_tag", "--dual_tag=concat")) | TRAINERS
ALL_DRAWS = {
    "dual_tag_shuffle": True,
    "dual_tag_drop_each_tag": 0.2,
    "dual_tag_drop_caption": 0.2,
    "dual_tag_drop_tags": 0.2,
    "caption_dropout_rate": 0.1,
    "enable_wildcard": True,
}


def flags(**given) -> argparse.Namespace:
    return argparse.Namespace(**DEFAULTS | given)


def compose(caption: str, tags: str, seed=0, **given) -> str:
    return dual_tag.Plugin().compose_text(
        caption=caption, tags=tags, fields={}, draw=random.Random(seed), args=flags(**given)
    )
