"""Packs: the latents of many images in a few files of fixed-size records.

Read in this order: `layout.py` (a record), `header.py` (pack.json and keys.arrow), `places.py` (row of the index
to record), `store.py` (reading in training), `plan.py`, `write.py` and `make.py` (making one), `__main__.py`
(make pack).
"""

from pathlib import Path

HEADER = "pack.json"  # written last, so that a folder without it holds no finished pack
UNFINISHED = "unfinished"  # the plan, and what was left out, while a pack is made


def is_pack(folder: Path) -> bool:
    """Tell whether a folder of latents is a pack, finished or not."""
    return (folder / HEADER).is_file() or (folder / UNFINISHED).is_dir()
