"""Flags of plugins as both trainers parse them."""

import argparse

from extensions import manager
from extensions.trainer import arguments


def parsed(plugins: str, *words: str, **more) -> argparse.Namespace:
    """The flags of plugins, listed as in --extensions, and what more a trainer has. UserError as in a launch."""
    parser = arguments.extend(argparse.ArgumentParser(), manager.Manager(manager.listed(plugins)))
    return argparse.Namespace(**vars(parser.parse_args(words)) | {"extensions": plugins} | more)
