"""Text encoders' outputs of n drawn texts an image, in the place of the encoders (make text-outputs).

Read in this order: `made_with.py` (what a pack is of), `layout.py` (a record, a shard), `header.py` (pack.json),
`store.py` (reading in training), `write.py` (making one; whoever runs the encoders calls it).
"""
