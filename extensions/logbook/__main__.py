"""Runs the commands of the logbook: `python -m extensions.logbook runs|show|path|diff`."""

import sys

from extensions.base.reporting import exit_code_of
from extensions.logbook.commands import parser


def main(arguments: list[str]) -> int:
    """Run one command; its exit code, 0 where it has none."""
    asked = parser().parse_args(arguments)
    return asked.act(asked) or 0


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
