"""Plans what averages of the weights take beside the training: memory of the processor, and the disk."""

from dataclasses import dataclass

from extensions.flags import values
from extensions.flags.settings import Settings
from extensions.flags.words import Flags
from extensions.plan import trained

OWNER = "ema"  # the plugin, whose first flag is called like it
READ = (OWNER, "ema_decay", "ema_snapshots", "save_precision")
POWERS, HALF, WHOLE = 2, 2, 4  # averages by power functions; bytes of fp16 and of fp32
SNAPSHOTS = 16  # where nothing else is said
AUTOENCODER = 83_653_863  # parameters, that a checkpoint has besides


@dataclass(frozen=True)
class Cost:
    """Bytes: memory of a machine and of a rank, a state's more, all snapshots, what is beside a checkpoint.

    averages: how many. count: of snapshots.
    """

    machine: float
    rank: float
    state: float
    snapshots: float
    count: int
    beside: float
    averages: int

    def lines(self) -> list[list[str]]:
        """Return a table's rows, in GB of 10**9 bytes, as memory and disks are sold."""
        sizes = {
            "memory of a machine": self.machine,
            "memory of each of its processes": self.rank,
            "disk, in each training state": self.state,
            f"disk, {self.count} snapshots for other lengths": self.snapshots,
            "disk, beside each checkpoint": self.beside,
        }
        return [[name, f"{size / 1e9:.1f}"] for name, size in sizes.items()]


def of_run(flags: Flags, config: Settings, gpus: int) -> Cost | None:
    """Return what a run's averages take; None where it has none. gpus: of a machine."""
    if OWNER not in config.plugins:
        return None
    count = values.count("--ema_snapshots", flags.get("ema_snapshots") or str(SNAPSHOTS), least=0)
    averages = POWERS + ("ema_decay" in flags)
    models = trained.models(config)
    parameters = sum(model.trainable for model in models)
    zero = config.zero_stage is not None and config.mixed_precision != "no"
    width = 2 if config.full_precision or zero else 4
    written = {"fp16": 2, "bf16": 2, "float": 4}.get(flags.get("save_precision") or "", width)
    whole = written * (sum(model.total for model in models) + AUTOENCODER)
    machine = parameters * (2 * width + WHOLE * averages)
    return Cost(
        machine=machine,
        rank=machine / gpus,
        state=parameters * (width + WHOLE * averages),
        snapshots=parameters * (width + HALF * POWERS * count) if count else 0,
        count=count,
        beside=0 if flags.get(OWNER) in ("last", "none") else averages * whole,
        averages=averages,
    )
