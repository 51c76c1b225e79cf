"""Two sources of one data set."""

import json
from pathlib import Path


def halves(metadata: Path, folder: Path, second: int) -> Path:
    """Write the halves of a data set as a mixture whose second begins at that optimizer step; the mixture's file."""
    entries = json.loads(metadata.read_text(encoding="utf-8"))
    rows = []
    for name, keys, more in (
        ("even", list(entries)[::2], ""),
        ("odd", list(entries)[1::2], f"first_step = {second}\n"),
    ):
        (folder / f"{name}.json").write_text(json.dumps({key: entries[key] for key in keys}))
        rows.append(f'[[source]]\nname = "{name}"\nin_json = "{name}.json"\n{more}')
    (folder / "mix.toml").write_text("".join(rows))
    return folder / "mix.toml"
