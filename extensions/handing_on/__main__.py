"""Hands a run's model on: `python -m extensions.handing_on export|upload|blend …` (make export, …).

A verb is a module of this room: `arguments` adds its words to a parser, `act` does it and returns the exit code.
"""

import argparse
import sys
from importlib import import_module

from extensions.base.reporting import exit_code_of

VERBS = {
    "export": "a checkpoint as one file or as a folder of diffusers",
    "upload": "an export to a hub; without REALLY=1 it says what would be uploaded",
    "blend": "two checkpoints, or the difference of two added to a third, as a new one",
    "scan": "the blends of a run's base and its end: which one beats both on held-out images",
}


def main(arguments: list[str]) -> int:
    """Run one of the verbs; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m extensions.handing_on", description="A model for others.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, help_ in VERBS.items():
        verb = verbs.add_parser(name, help=help_)
        if name in arguments[:1]:  # what the others import is theirs
            module = import_module(f"extensions.handing_on.{name}")
            module.arguments(verb)
            verb.set_defaults(act=module.act)
    asked = parser.parse_args(arguments)
    return asked.act(asked)


if __name__ == "__main__":
    sys.exit(exit_code_of(main, sys.argv[1:]))
