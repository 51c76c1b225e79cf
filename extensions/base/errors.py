"""Raises what a user can mend, or has asked for, as exceptions of one line."""


class UserError(Exception):
    """One line: what is wrong, where, and what to do. Shown without a traceback; exit code `code`."""

    code = 2


class Stopped(UserError):
    """The run was asked to stop and has saved where it stood. 75 is EX_TEMPFAIL of sysexits.h: try again later."""

    code = 75


class NotFinite(UserError):
    """NaN or infinity in loss, gradients or weights."""

    code = 76


def english(error: BaseException) -> str:
    """Return what an error says, in one line. sd-scripts says most things twice: "English / Japanese"."""
    said = " ".join(str(error).split())
    first, slash, second = said.partition(" / ")
    return first if slash and not second.isascii() else said


# Exit codes of processes that have said in one line how they ended.
EXPLAINED = frozenset(kind.code for kind in (UserError, Stopped, NotFinite))
