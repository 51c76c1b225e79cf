"""Notes which seams were called, also in the data loader's workers, where texts are tokenized.

One byte a seam, in memory that a process shares with those that it forks.
"""

import mmap

ROOM = 256  # seams

_called = mmap.mmap(-1, ROOM)
_places: dict[str, int] = {}


def place(path: str) -> int:
    """Return the place of a seam, given to it when it is installed: processes that fork later agree on it."""
    return _places.setdefault(path, len(_places))


def note(at: int) -> None:
    """Note that the seam at this place was called."""
    _called[at] = 1


def was_called(path: str) -> bool:
    """Tell whether a seam was, in this process or in one that was forked from it."""
    return _called[place(path)] == 1


def forget() -> None:
    """Begin anew: a process may train more than once."""
    _called[:] = bytes(ROOM)
