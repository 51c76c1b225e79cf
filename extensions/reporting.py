"""How a run's end is told: one line for what a user can mend, a traceback for what is ours."""

import sys
import traceback

from extensions.errors import UserError

USER_ERROR = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells say it


def exit_with(error: BaseException | None) -> int:
    """The exit code for how a run ended, after saying why on stderr."""
    if error is None:
        return 0
    if isinstance(error, UserError):
        print(f"error: {one_line(error)}", file=sys.stderr, flush=True)
        return USER_ERROR
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    if isinstance(error, KeyboardInterrupt):
        print("interrupted", file=sys.stderr, flush=True)
        return INTERRUPTED
    traceback.print_exception(error)
    return 1


def exit_code_of(main, arguments: list[str]) -> int:
    """`main(arguments)` as a program: its exit code, or that of one line for what a user can mend."""
    try:
        return main(arguments)
    except (UserError, KeyboardInterrupt) as error:
        return exit_with(error)


def one_line(error: UserError) -> str:
    """The message. One raised in a data-loader worker arrives wrapped in the worker's traceback."""
    last = str(error).strip().splitlines()[-1]
    return last.removeprefix("extensions.errors.UserError: ")
