"""Every kind of file that a run writes, and how a run ends whose disk is full for it."""

from dataclasses import dataclass, field

from tests.helpers.full_disks import Full

FOLDER = r"/logs/24120801/[^/]*"  # a run folder
BOARD = rf"{FOLDER}/tensorboard/[^/]*"
STATE = r"/states/[.]step00000003[.]part"
PART = r"[.][^/]*[.]part"  # the name of what `replacing` is writing


@dataclass(frozen=True)
class Kind:
    """code, line: how the run ends, and what it says of it; "" where there is nothing to be said.

    steps: of the newest good state then, at the least; None: nothing was trained. settings: of the launch.
    """

    name: str
    full: Full
    code: int
    line: str = ""
    steps: int | None = None
    settings: dict = field(default_factory=dict)
    trainers: tuple[str, ...] = ("reference", "sd-scripts")

    def __str__(self):
        return f"{self.name}-{self.full.when}" + (f"-{self.full.first}" if self.full.first > 1 else "")


def kinds(name: str, pattern: str, whens: str, code: int, line: str, steps: int | None = None, **more) -> list[Kind]:
    first = more.pop("first", 1)
    return [Kind(name, Full(pattern + "$", when, first), code, line, steps, **more) for when in whens.split()]


NO_FOLDER = "no run folder can be made in"
RUN_FOLDER = "the run folder cannot be written (No space left on device); make room below"
MANIFEST = rf"{FOLDER}/[.]manifest[^/]*json"
BEGIN = "tensorboard cannot begin its log"
# Refused before a model is loaded, in a second.
EARLY = [
    *kinds("logs", "/logs", "make", 2, NO_FOLDER),
    *kinds("logs of the run", "/logs/24120801", "make", 2, RUN_FOLDER),
    *kinds("run folder", FOLDER, "make", 2, RUN_FOLDER),
    *kinds("probe of logs", "/logs/tmp[^/]*", "make write", 2, NO_FOLDER),
    *kinds("command.sh", rf"{FOLDER}/[.]command[^/]*sh", "make write sync", 2, RUN_FOLDER),
    *kinds("manifest", MANIFEST, "make write sync", 2, RUN_FOLDER),
    *kinds("train.log", f"{FOLDER}/train.log", "make write", 2, RUN_FOLDER),
    *kinds("output", "/model_out_24120801", "make", 2, "cannot be written (No space left on device)"),
    *kinds("lock of the output", "/[.]launch[.]lock", "make", 2, ".launch.lock cannot be written"),
    *kinds("probe of the output", "/[.]writable", "make", 2, "cannot be written (No space left on device)"),
]
# Refused, or told, once the models are loaded.
LOADED = [
    *kinds("manifest of the run", MANIFEST, "make", 2, "make room, or let LOGS= name another", first=2),
    *kinds("probe of TMPDIR", "/tmp/[a-z0-9_]{8}", "make write", 0, "", 4),
    *kinds("caches of torch", "/torchinductor_[^/]*", "make", 2, "torchinductor_"),
    *kinds("shared numbers", "^/dev/shm/pym-[^/]*", "make write", 2, "/dev/shm has no room"),
    *kinds("semaphores", "^/dev/shm/sem[.][^/]*", "make", 2, "/dev/shm has no room"),
    *kinds("tensorboard", f"{FOLDER}/tensorboard", "make", 2, BEGIN),
    *kinds("run of tensorboard", BOARD, "make", 2, BEGIN),
    *kinds("folder of events", f"{BOARD}/[^/]*", "make", 2, BEGIN),
    *kinds("folder of hparams", f"{BOARD}/[^/]*/[0-9.]*", "make", 2, BEGIN, trainers=("reference",)),
    *kinds("hparams.yml", f"{BOARD}/.*/hparams.yml", "make write", 2, BEGIN, trainers=("reference",)),
    *kinds("events of hparams", f"{BOARD}/.*/events[.]out[^/]*[.]1", "make write", 2, BEGIN, trainers=("reference",)),
    *kinds("events", f"{BOARD}/.*/events[.]out[^/]*[.]0", "make write", 2, BEGIN),
    *kinds("metrics", f"{FOLDER}/metrics.jsonl", "make", 2, "make room, or let LOGS= name another"),
    *kinds("metrics", f"{FOLDER}/metrics.jsonl", "write", 2, "metrics.jsonl cannot be written"),
    *kinds("states", "/states", "make", 2, "/states cannot be written"),
]
STATE_LOST = "no state saved at optimizer step 3: "
NO_CHECKPOINT = "step00000004.safetensors at optimizer step 4: "
# While it trains.
UNDER_WAY = [
    *kinds("more metrics", f"{FOLDER}/metrics.jsonl", "write", 2, "metrics.jsonl cannot be written", 1, first=3),
    *kinds("more events", f"{BOARD}/.*/events[.]out[^/]*[.]0", "write", 0, "the run goes on", 4, first=6),
    *kinds("state", STATE, "make", 0, STATE_LOST, 4),
    *kinds("weights of a state", rf"{STATE}/U-Net[.]safetensors", "make write sync", 0, STATE_LOST, 4),
    *kinds("encoder of a state", rf"{STATE}/text_encoder_[12][.]safetensors", "make write", 0, STATE_LOST, 4),
    *kinds("optimizer of a state", rf"{STATE}/optimizer[.]safetensors", "make write", 0, STATE_LOST, 4),
    *kinds("progress of a state", rf"{STATE}/progress[.]safetensors", "make write sync", 0, STATE_LOST, 4),
    *kinds("state.json", f"{STATE}/state.json", "make write sync", 0, STATE_LOST, 4),
    *kinds("folder of a checkpoint", "/[.]checkpoint[.]part", "make", 2, NO_CHECKPOINT, 3, first=2),
    *kinds("checkpoint", "/[.]checkpoint[.]part/[^/]*", "make", 2, NO_CHECKPOINT, 3, first=2),
    *kinds("checkpoint", "/[.]checkpoint[.]part/[.]tmp[^/]*", "write", 2, "no checkpoint ", 1),
    *kinds("begun train.log", f"{FOLDER}/train.log", "write", 75, "train.log cannot be written", 0, first=2),
    *kinds("more of train.log", f"{FOLDER}/train.log", "write", 75, "train.log cannot be written", 0, first=14),
    *kinds("digests in the manifest", MANIFEST, "make", 0, "the record has no digest of", 4, first=3),
    *kinds("manifest at the end", MANIFEST, "make", 0, "does not say how it ended", 4, first=3),
]
# Made once a machine or once a data set, and what several processes and memory need.
RAMDISK = {"RAMDISK": 1, "TINY_STEPS": 1}
AGAIN = "what was read is kept, the next try goes on"
INDEX, DISK = r"/data/[.]meta_lat", "reading from disk"
NAMES = "(laion_CLIP|openai_clip|stabilityai)"
OTHERS = [
    *kinds("lock of an index", f"{INDEX}.json.index.lock", "make", 2, "cannot be locked", settings=RAMDISK),
    *kinds("parts of an index", f"{INDEX}.json.index.part", "make", 2, AGAIN, settings=RAMDISK),
    *kinds("part of an index", f"{INDEX}.json.index.part/{PART}.arrow", "make write", 2, AGAIN, settings=RAMDISK),
    *kinds("progress of an index", rf"{INDEX}.*progress{PART}[.]json", "make write", 2, AGAIN, settings=RAMDISK),
    *kinds("index", f"{INDEX}.json.index.part/whole.arrow", "make write", 2, AGAIN, settings=RAMDISK),
    *kinds("texts of an index", "/data/#[^/]*", "make", 0, "", settings=RAMDISK),
    *kinds("report of an index", f"{INDEX}.json.index.report{PART}.json", "make write", 2, "", settings=RAMDISK),
    *kinds("tokenizers", "/tokenizers", "make", 2, "cannot write", settings=RAMDISK),
    *kinds("a tokenizer", rf"/tokenizers/[.]{NAMES}[^/]*part", "make", 2, "cannot be written", settings=RAMDISK),
    *kinds("files of a tokenizer", rf"/tokenizers/[.]{NAMES}[^/]*part/.*", "make write", 2, "", settings=RAMDISK),
    *kinds("hashes", "/[.]sha256[^/]*json", "make write", 0, "", settings=RAMDISK),
    *kinds("memory", "/dev/shm/full-disk-[0-9]*(/ram)?", "make", 0, DISK, settings=RAMDISK),
    *kinds("home in memory", "/ram/staged", "make", 0, DISK, settings=RAMDISK),
    *kinds("locks in memory", "/ram/staged/[.][^/]*", "make", 0, DISK, settings=RAMDISK),
    *kinds("folders in memory", "/ram/staged/[0-9a-f]{12}(/latents)?", "make", 0, DISK, settings=RAMDISK),
    *kinds("copies begun in memory", "/ram/staged/partial", "make", 0, DISK, settings=RAMDISK),
    *kinds("copies in memory", "/ram/staged/partial/[^/]*", "make write", 0, DISK, settings=RAMDISK),
    *kinds("looks at an index", "index[.]checked[^/]*json", "make write", 0, "", settings=RAMDISK),
    *kinds("ends of processes", "/tmp/ends-[^/]*", "make", 2, "no temporary folder", settings={"GPUS": 2}),
    *kinds("logs of torchrun", "/tmp/torchelastic_[^/]*(/.*)?", "make", 2, "torchelastic_", settings={"GPUS": 2}),
]
# Beside them: of the same kind as one above, or there for some only.
ALSO = [
    rf"{FOLDER}/[.]changes[.][^/]*diff$",  # where the project itself was changed; written as command.sh is
    "/ram/staged/[0-9a-f]{12}/([.]meta_lat.json.index.lock|#unnamed)$",  # of an index, looked at in memory
]
