"""`python -m extensions.logbook runs|show|path|diff`."""

import sys

from extensions.errors import UserError
from extensions.logbook.commands import parser
from extensions.reporting import exit_with


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0, or 2 after one line on stderr for what a user can mend."""
    args = parser().parse_args(arguments)
    try:
        args.act(args)
    except UserError as error:
        return exit_with(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
