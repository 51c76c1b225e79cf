"""Checks the pickles of --resume, a state of accelerate's: to load one runs whatever code its author put there.

`torch.load` is kept to weights (`trainer/start.py`), and a state holds little else: what it names beyond that is
listed here. Files are read without being loaded, and before anything else is.
"""

import zipfile
from pathlib import Path

from extensions.base.errors import UserError
from extensions.model.checkpoint import PICKLE, ZIP, shortened

# Random states, which accelerate lets pass itself.
NUMPY = {
    "_codecs.encode", "numpy.ndarray", "numpy.dtype", "numpy.dtypes.UInt32DType",
    "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct",
}  # fmt: skip
# A share of ZeRO's optimizer: plain data classes and an enumeration.
DEEPSPEED = {
    "deepspeed.utils.tensor_fragment.fragment_address",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
}


def check_state(folder: str, deepspeed: bool) -> None:
    """Let the state of --resume be loaded. UserError where it is none, or holds a pickle of more than a state."""
    state = Path(folder)
    if not state.is_dir():
        raise UserError(f"--resume={folder} is no folder of a training state; give one that --save_state has written")
    for path in sorted(each for each in state.rglob("*") if each.is_file()):
        named = names_in(path) - NUMPY - (DEEPSPEED if deepspeed else set())
        if named:
            shown = ", ".join(shortened(name) for name in sorted(named)[:3])
            raise UserError(
                f"--resume: {path} is a pickle that would call {shown}, which no training state needs; "
                "do not load it, and give another state"
            )
    if deepspeed:
        allow_deepspeed()


def names_in(path: Path) -> set[str]:
    """Return what a pickle names, besides tensors; nothing of a file that is none. UserError for another form."""
    from torch.serialization import get_unsafe_globals_in_checkpoint

    with open(path, "rb") as file:
        begins = file.read(len(ZIP))
    if begins.startswith(PICKLE):
        raise UserError(f"--resume: {path} is a bare pickle, which no training state holds; do not load it")
    if not begins.startswith(ZIP) and not zipfile.is_zipfile(path):
        return set()
    try:
        return set(get_unsafe_globals_in_checkpoint(path))
    except Exception as error:  # of torch's reader and of pickletools': a file that is damaged, or made to be
        raise UserError(f"--resume: {path} cannot be read ({shortened(str(error))}); give another state") from None


def allow_deepspeed() -> None:
    """Let torch.load build what a share of ZeRO's optimizer holds."""
    import torch
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    torch.serialization.add_safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address])
