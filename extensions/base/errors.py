"""Raises what a user can mend, or has asked for, as exceptions of one line."""

import errno
import os

FULL = {errno.ENOSPC, errno.EDQUOT}
WRAPPED = "\nOriginal Traceback"  # torch makes such a text, and an error of it, of one in a data-loader worker


class UserError(Exception):
    """One line: what is wrong, where, and what to do. Shown without a traceback; exit code `code`.

    Names of files and ids stand in it as they are: line breaks and terminal escapes in them are escaped.
    """

    code = 2

    def __init__(self, said: str = ""):
        super().__init__(said if WRAPPED in said else printable(said))


class Stopped(UserError):
    """The run was asked to stop and has saved where it stood. 75 is EX_TEMPFAIL of sysexits.h: try again later."""

    code = 75


class NotFinite(UserError):
    """NaN or infinity in loss, gradients or weights."""

    code = 76


def printable(text: str) -> str:
    """Return a text as a terminal may show it, in one line: what does not print is escaped as Python writes it."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def english(error: BaseException) -> str:
    """Return what an error says, in one line. sd-scripts says most things twice: "English / Japanese"."""
    said = " ".join(str(error).split())
    first, slash, second = said.partition(" / ")
    return first if slash and not second.isascii() else said


def no_room(error: BaseException) -> UserError | None:
    """Return, in one line, that a disk or a quota is full, where that is what the system has said; else None."""
    if not isinstance(error, OSError) or error.errno not in FULL:
        return None
    what = f"{os.fsdecode(error.filename)} cannot be written" if error.filename else "a file cannot be written"
    return UserError(f"{what} ({os.strerror(error.errno)}); make room, then the same command again")


# Exit codes of processes that have said in one line how they ended.
EXPLAINED = frozenset(kind.code for kind in (UserError, Stopped, NotFinite))
