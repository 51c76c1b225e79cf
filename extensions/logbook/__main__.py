"""`python -m extensions.logbook runs|show|path|diff|plan|plan-check`."""

import os
import sys

from extensions.errors import UserError
from extensions.logbook.commands import parser
from extensions.reporting import exit_with


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code, 0 where it has none, or 2 after one line on stderr for what a user can mend."""
    args = parser().parse_args(arguments)
    try:
        code = args.act(args) or 0
        sys.stdout.flush()  # a reader that is gone is noticed here at the latest, not in Python's own last flush
        return code
    except UserError as error:
        return exit_with(error)
    except BrokenPipeError:
        return read_enough()


def read_enough() -> int:
    """The reader, a `| head`, has what it wanted: 0, for make would complain of anything else. Drops the rest."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
    return 0


if __name__ == "__main__":
    sys.exit(main())
