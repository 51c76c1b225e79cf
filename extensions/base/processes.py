"""Exchanges what the ranks of a run tell each other outside the training itself."""

import os
import time

SETTLING = 0.1  # seconds; what is waited for takes the interpreter's lock once, 5 ms at most while others compute


def started() -> int:
    """Return how many processes the launcher has started, before accelerate is set up.

    Like accelerate by LOCAL_RANK: some clusters set WORLD_SIZE for every program.
    """
    return int(os.environ.get("WORLD_SIZE", "1")) if "LOCAL_RANK" in os.environ else 1


def is_first() -> bool:
    """Tell whether this is process 0 of those, the one that says what all of them would."""
    return "LOCAL_RANK" not in os.environ or os.environ.get("RANK", "0") == "0"


def any_process(accelerator, flag: bool) -> bool:
    """Tell whether any process says so; every process gets the same answer. One number travels."""
    return any_process_of_each(accelerator, {"": flag})[""]


def any_process_of_each(accelerator, flags: dict[str, bool]) -> dict[str, bool]:
    """Tell of each flag whether any process says so: one reduction for all, and none for one process or no flag.

    Every process gives the same names, in the same order.
    """
    if accelerator.num_processes == 1 or not flags:
        return flags
    import torch  # not before: who asks is_first need not have it

    said = torch.tensor([float(flag) for flag in flags.values()], device=accelerator.device)
    torch.distributed.all_reduce(said, op=torch.distributed.ReduceOp.MAX)
    return dict(zip(flags, map(bool, said.tolist()), strict=True))


def from_main(accelerator, value):
    """Process 0's value (anything that can be pickled), on every process."""
    if accelerator.num_processes == 1:
        return value
    from accelerate.utils import broadcast_object_list

    return broadcast_object_list([value])[0]


def from_all(accelerator, value) -> list:
    """Gather every process's value (anything that can be pickled), in the order of processes, on every process."""
    if accelerator.num_processes == 1:
        return [value]
    from accelerate.utils import gather_object

    return gather_object([value])


def settle() -> None:
    """Wait, before this process leaves, until gloo's threads have let go of what was last exchanged.

    They drop its tensors under the interpreter's lock. One that asks for it while Python shuts down is cancelled,
    and C++ ends the process with SIGABRT: the launcher then ends the others, one of which may be saving.
    """
    if started() > 1:
        time.sleep(SETTLING)
