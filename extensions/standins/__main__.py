"""`python -m extensions.standins MODELS DATASETS`: make the stand-ins and print where they are."""

import sys
from pathlib import Path

from extensions.errors import UserError
from extensions.standins.ensure import ensure_all


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, or 2 after a one-line error."""
    try:
        if len(arguments) != 2:
            raise UserError("two folders are needed; call: python -m extensions.standins MODELS DATASETS")
        for key, path in ensure_all(*map(Path, arguments)).items():
            print(f"{key}\t{path}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
