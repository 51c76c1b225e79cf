"""`python -m extensions.logbook runs|show|path|diff|plan|plan-check`."""

import sys

from extensions.errors import UserError
from extensions.logbook.commands import parser
from extensions.reporting import exit_with


def main(arguments: list[str] | None = None) -> int:
    """Run one command; its exit code, 0 where it has none, or 2 after one line on stderr for what a user can mend."""
    args = parser().parse_args(arguments)
    try:
        return args.act(args) or 0
    except UserError as error:
        return exit_with(error)


if __name__ == "__main__":
    sys.exit(main())
