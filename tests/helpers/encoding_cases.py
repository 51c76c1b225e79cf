"""What the tests of `make latents` share: a folder's wish, and what came of it."""

import json

from extensions.data.make import encode

SIZES = [(90, 60), (60, 90), (64, 64), (200, 50)]


def wish(photographs, standins, **more):
    return encode.Wish(photographs, photographs.parent / "out", standins["sd2"], **more)


def read(folder):
    return json.loads((folder / "meta_lat.json").read_text(encoding="utf-8"))


def reasons(out):
    rows = [json.loads(line) for line in (out / "left_out.jsonl").read_text().splitlines()]
    return {each["id"] or each["path"]: each["kind"] for each in rows}
