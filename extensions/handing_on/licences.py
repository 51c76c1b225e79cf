"""Writes a licence as the hub's header has it: one of the hub's names, else "other" with a name of its own."""

from dataclasses import dataclass

from extensions.base.errors import UserError

# The hub's own names (huggingface.co/docs/hub/repositories-licenses) of licences that models are given.
HUB = frozenset((
    "apache-2.0", "mit", "openrail", "openrail++", "bigscience-openrail-m", "creativeml-openrail-m",
    "bigscience-bloom-rail-1.0", "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause",
    "bsd-3-clause", "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0",
    "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0",
    "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "ecl-2.0",
    "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1", "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0",
    "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "mpl-2.0", "ms-pl", "odbl", "osl-3.0", "postgresql", "unlicense", "wtfpl",
    "zlib", "unknown",
))  # fmt: skip
TO_BE_FILLED_IN = "to-be-filled-in"


@dataclass(frozen=True)
class Licence:
    """What a person has said; nothing where the name is empty."""

    name: str = ""

    @property
    def header(self) -> dict[str, str]:
        """What the hub's header says."""
        if self.name.lower() in HUB:
            return {"license": self.name.lower()}
        return {"license": "other", "license_name": self.name or TO_BE_FILLED_IN}


def read(name: str) -> Licence:
    """Return the licence of that name. UserError for a text that is no name."""
    name = name.strip()
    if not name.isprintable() or len(name) > 100:
        raise UserError("LICENCE= is no name of a licence; give one line, e.g. LICENCE=openrail++")
    return Licence(name)
