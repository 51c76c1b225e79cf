"""Packs a folder of npz latents: python -m extensions.data.pack META DATA OUT (make pack)."""

import enum
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from extensions.base.errors import UserError
from extensions.base.paths import require_apart
from extensions.base.reporting import exit_code_of_app
from extensions.data.index import open_for
from extensions.data.pack import is_pack, make, plan, write

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Dtype(str, enum.Enum):
    """KEEP or a key of STORED."""

    keep = plan.KEEP
    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"


class Bad(str, enum.Enum):
    """What becomes of a corrupt npz."""

    stop = write.STOP
    skip = write.SKIP


@app.command()
def main(
    meta: Annotated[Path, typer.Argument(help="metadata, or an index of them")],
    data: Annotated[Path, typer.Argument(help="folder of <id>.npz")],
    out: Annotated[Path, typer.Argument(help="folder for the pack")],
    dtype: Annotated[Dtype, typer.Option(help="keep what the npz have, or lower it")] = Dtype.keep,
    bad: Annotated[Bad, typer.Option(help="a corrupt npz stops, or is left out and listed")] = Bad.stop,
    jobs: Annotated[int, typer.Option(help="processes")] = 1,
    shard_gb: Annotated[float, typer.Option(help="GiB a shard at most")] = 4.0,
) -> None:
    """Write the latents of a data set as a pack, verified record by record. Deletes nothing."""
    for path, what in ((data, "folder of latents"), (out.parent, "folder for the pack")):
        if not path.is_dir():
            raise UserError(f"no such {what}: {path}")
    require_apart(out, data, "folder of latents")
    if not (math.isfinite(shard_gb) and shard_gb * (1 << 30) >= 1):
        raise UserError(f"SHARD_GB={shard_gb}: give a number of GiB above 0, such as 4")
    if is_pack(data):
        raise UserError(f"{data} is a pack already; give the folder of npz files that it was made of")
    wish = make.Wish(data, out, dtype.value, bad.value, int(shard_gb * (1 << 30)))
    pack = make.make(open_for(meta, data), wish, jobs)
    kept = pack.images - pack.left_out
    left = f", {pack.left_out} left out (listed in {out / make.LEFT_OUT})" if pack.left_out else ""
    print(f"{out}: {kept:,} images in {len(pack.shards)} shards{left}; verified against {data}")


if __name__ == "__main__":
    sys.exit(exit_code_of_app(app, sys.argv[1:]))
