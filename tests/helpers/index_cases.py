"""Entries of metadata for the tests of the index."""


def entry(width=64, height=64, tags="1cat", caption="A cat.") -> dict:
    return {"tags": tags, "caption": caption, "train_resolution": [width, height]}
