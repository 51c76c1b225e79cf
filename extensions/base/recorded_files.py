"""Records sha256 and size of the checkpoints that a run leaves, in a thread of its own while the training goes on.

A digest of 7 GB takes a core some ten seconds; the file has just been written, so that it is read from memory. Each
is opened before the training goes on: the digest is of what was saved, whatever takes its name meanwhile. What a kill
leaves without a digest stays without one: to compute it later would prove nothing.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from extensions.base import digests, manifest
from extensions.base.errors import UserError

PATTERN = "[!.]*.safetensors"


class RecordedFiles:
    """Watches the folder of the checkpoints. record: the run folder, whose manifest gets {name: {bytes, sha256}}."""

    def __init__(self, record: Path, output: Path):
        self.record, self.output = record, output
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="digests")
        self.known = dict(self.there())  # of before this launch: another's to record

    def there(self) -> list[tuple[str, tuple[int, int, int]]]:
        """Return (name, what tells one file of that name from another) of all checkpoints."""
        found = []
        for path in sorted(self.output.glob(PATTERN)):
            try:
                facts = path.stat()
            except OSError:  # taken away meanwhile
                continue
            found.append((path.name, (facts.st_ino, facts.st_size, facts.st_mtime_ns)))
        return found

    def look(self) -> None:
        """Have the digests computed of what is new: a checkpoint, and what was saved beside the one before it."""
        for name, facts in self.there():
            if self.known.get(name) == facts:
                continue
            self.known[name] = facts
            try:
                file = open(self.output / name, "rb")
            except OSError as error:
                self.tell(name, error.strerror)
                continue
            self.thread.submit(self.note, name, file)

    def note(self, name: str, file: BinaryIO) -> None:
        """Compute one digest and put it into the manifest; in the thread."""
        try:
            with file:
                digest = digests.of_open(file, hashlib.sha256())
                facts = {"bytes": os.fstat(file.fileno()).st_size, "sha256": digest}
            before = manifest.read(self.record)
            kept = before.checkpoints if before else {}
            manifest.update(self.record, checkpoints={**kept, name: facts})
        except (OSError, UserError) as error:
            self.tell(name, str(error))

    def tell(self, name: str, why: str | None) -> None:
        """Say that a digest is missing: the training is worth more than its record."""
        print(f"the record has no digest of {name}: {why}", flush=True)

    def finish(self) -> None:
        """Look once more and wait for all digests."""
        self.look()
        self.thread.shutdown(wait=True)
