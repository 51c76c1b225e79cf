"""Finds real photographs that installed packages ship, each with hand-written tags and a caption.

Sources: scikit-image (`skimage/data`), scikit-learn (`sklearn/datasets/images`) and matplotlib
(`mpl-data/sample_data`); nothing is downloaded or copied. captions.toml pairs each with an id and a text.
Some entries are awkward on purpose: no caption, an empty one, no tags, non-ASCII letters, brackets, and
texts that need two, three and four chunks of 75 tokens.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import toml

from extensions.base.errors import UserError

CAPTIONS = Path(__file__).with_name("captions.toml")


@dataclass(frozen=True)
class Photo:
    """One picture: id as in the metadata (no folder, no extension), its file, its texts (None: absent)."""

    id: str
    path: Path
    tags: str | None
    caption: str | None


def photographs() -> list[Photo]:
    """Return all photographs in the order of captions.toml.

    Raises UserError when a package that ships one of them is missing or ships it no longer.
    """
    entries = toml.loads(CAPTIONS.read_text(encoding="utf-8"))
    return [_photo(key, entry) for key, entry in entries.items()]


def _photo(key: str, entry: dict[str, str]) -> Photo:
    package, _, inside = entry["file"].partition("/")
    path = _package_folder(package) / inside
    if not path.is_file():
        raise UserError(f"no photograph at {path}; install the version of {package} that the project names")
    return Photo(key, path, entry.get("tags"), entry.get("caption"))


def _package_folder(package: str) -> Path:
    # find_spec does not run the package; importing skimage or sklearn would take a second each.
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"stand-in photographs need {package}; install the project's dependencies")
    return Path(spec.submodule_search_locations[0])
