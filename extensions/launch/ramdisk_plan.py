"""Tells what RAMDISK=1 would copy, for DRY_RUN=1: nothing is made, locked or written."""

from extensions.data.index.layout import index_of
from extensions.launch.copying import Input
from extensions.launch.memory import gib, is_tmpfs, room
from extensions.launch.ramdisk import HOME, STAGED, FromDisk, input_of, mount, pending
from extensions.launch.stages import Resolved


def told(now: Resolved) -> str:
    """Return the line about what a launch with RAMDISK=1 would copy to where, as far as it is there now."""
    root = mount() / HOME
    standing = next(path for path in (root, *root.parents) if path.exists())
    if not is_tmpfs(standing):
        return f"RAMDISK=1: {mount()} is no tmpfs; would read from disk"
    inputs = [planned(now, flag, root) for flag in STAGED]
    there = [each for each in inputs if each.source.exists()]
    missing = "".join(f"; {each.source} is not there yet" for each in inputs if each not in there)
    try:
        count, size = pending(there, room(standing), root)
    except FromDisk as reason:
        return f"RAMDISK=1: {reason}; would read from disk{missing}"
    what = f"would copy {count:,} files, {gib(size)}, to" if count else "would read what is already in"
    return f"RAMDISK=1: {what} {root}{missing}"


def planned(now: Resolved, flag: str, root) -> Input:
    """Return a flag's input as `input_of` does, the index as it would be named; it is not made here."""
    return input_of(now, flag, root, lambda source, _: index_of(source))
