"""Stops the run at a sample whose latents are corrupt, or passes over it.

    --bad_sample=stop             the first corrupt sample ends the run (also without this plugin)
    --bad_sample=skip             the next readable image of the same bucket takes its place (data/corrupt.py)
    --bad_sample_limit=N          more than N ids of all processes end the run; 100 unless given

A run that has stopped goes on exactly with skip: nothing before the corrupt sample is read in another way, and the
plugin changes no weight.

Ids are counted once, however many epochs or processes meet them; a resumed run counts anew. The processes tell each
other after each optimizer step whether there is a new one, and end together. The data loader reads ahead, and what it
skipped counts when its batch is trained. A file that is not there at all is not corrupt (`data/latents.py` draws the
line) and always stops. The ids go to `bad_samples.txt` in the run folder, one a line.
"""

from pathlib import Path

from extensions.base.errors import UserError
from extensions.base.processes import from_all
from extensions.base.saving import writing
from extensions.data import DATASET, ids
from extensions.flags import values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl

LIST = "bad_samples.txt"
REPORT = "bad_sample: new ids"  # to the other processes
STOP, SKIP = "stop", "skip"
LIMIT = 100  # corrupt samples, unless --bad_sample_limit is given


class Plugin:
    """Counts, tells and lists what the data set skipped."""

    neutral = True
    flags = (
        Flag(
            "bad_sample",
            str,
            "corrupt latents end the run, or are passed over",
            default=STOP,
            choices=(STOP, SKIP),
            neutral=True,
        ),
        Flag(
            "bad_sample_limit",
            values.whole(1),
            f"with skip: more corrupt ids than this end the run ({LIMIT})",
            unit="ids",
            neutral=True,
        ),
    )

    def __init__(self):
        self.limit, self.folder, self.process = 0, None, 0
        self.seen: set[str] = set()  # by this process
        self.untold: list[str] = []  # of those, what the others have not heard of
        self.everywhere: set[str] = set()
        self.replaced = 0

    @hookimpl
    def check_arguments(self, args):
        if args.bad_sample == STOP and args.bad_sample_limit is not None:
            raise UserError("--bad_sample_limit has no effect with --bad_sample=stop; give --bad_sample=skip")
        if args.bad_sample == SKIP and args.dataset_class != DATASET:
            raise UserError(f"--bad_sample=skip needs --dataset_class={DATASET}: other data sets do not skip")
        self.limit, self.folder = limit(args), args.run_folder

    @hookimpl
    def corrupt_samples_passed(self, args):
        return limit(args)

    @hookimpl
    def training_begins(self, run):
        self.process = run.accelerator.process_index

    @hookimpl
    def micro_step_ended(self, batch):
        skipped = batch.get("skipped_keys", [])
        self.replaced += len(skipped)
        for key, reason in zip(skipped, batch.get("skipped_reasons", []), strict=True):
            if key not in self.seen:
                self.seen.add(key)
                print(f"bad_sample: skipped {key!r} (process {self.process}): {reason}", flush=True)
                self.put_down(key)
                self.untold.append(key)

    @hookimpl
    def step_reports(self):
        return {REPORT: bool(self.untold)} if self.limit else None

    @hookimpl
    def optimizer_step_ended(self, run):
        """Exchange new ids, where a process reports one; every process hears the same and ends alike."""
        if not run.reported.get(REPORT):
            return
        self.everywhere.update(*from_all(run.accelerator, self.untold))
        self.untold = []
        if len(self.everywhere) > self.limit:
            raise UserError(
                f"{len(self.everywhere)} corrupt samples, more than --bad_sample_limit={self.limit}; look at the "
                "disk (make check-data), or give a higher limit"
            )

    def put_down(self, key: str) -> None:
        """Add an id to the list of all processes, unless it is there. One write is one line, whoever writes."""
        if self.folder is None:
            return
        path = Path(self.folder) / LIST
        with writing(path, "make room, then RESUME=auto goes on from the last state"):
            path.parent.mkdir(parents=True, exist_ok=True)
            self.add(path, key)

    def add(self, path: Path, key: str) -> None:
        """Add an id to the file."""
        with open(path, "a+", encoding="utf-8") as file:
            file.seek(0)
            if (line := ids.line(key)) not in file:
                file.write(line)

    @hookimpl
    def run_ended(self):
        if self.seen:
            where = f"; listed in {Path(self.folder) / LIST}" if self.folder else ""
            print(
                f"bad_sample: process {self.process} skipped {len(self.seen)} corrupt samples, "
                f"{self.replaced} times{where}",
                flush=True,
            )


def limit(args) -> int:
    """Return how many corrupt samples may be passed over; 0: the first one ends the run."""
    if args.bad_sample != SKIP:
        return 0
    return LIMIT if args.bad_sample_limit is None else args.bad_sample_limit
