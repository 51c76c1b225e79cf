"""Counts where a training waits for its GPU, by file and line; on a CPU, where it reads a scalar."""

import json
import sys
import warnings
from collections import Counter as Counts
from pathlib import Path

from benchmarks.gpu.setting import LeftOutError, Setting

WAITS = "synchronizing CUDA operation"  # what torch says under set_sync_debug_mode
PATCHED, PRISTINE = "ours", "pristine"


class Counter:
    """Counts between `begin` and `end`, in the thread that trains."""

    def __init__(self):
        self.places: Counts[str] = Counts()
        self.kind, self.undo = "", []

    def begin(self) -> None:
        """Begin: torch's own debug mode and explicit waits on a GPU, reads of scalars on a CPU."""
        import torch

        if torch.cuda.is_available():
            self.kind = "synchronisations"
            self.begin_cuda(torch.cuda)
        else:
            self.kind = "scalar reads"
            mode = reads(self.count)
            mode.__enter__()
            self.undo.append(lambda: mode.__exit__(None, None, None))

    def begin_cuda(self, cuda) -> None:
        """Have torch warn at each wait, and take its warnings. It does not warn of torch.cuda.synchronize."""
        show, synchronize, mode = warnings.showwarning, cuda.synchronize, cuda.get_sync_debug_mode()
        caught = warnings.catch_warnings()
        caught.__enter__()
        warnings.simplefilter("always")

        def showing(message, *rest, **named):
            if WAITS in str(message):
                self.count()
            else:
                show(message, *rest, **named)

        def synchronizing(*arguments, **named):
            self.count()
            return synchronize(*arguments, **named)

        warnings.showwarning, cuda.synchronize = showing, synchronizing
        cuda.set_sync_debug_mode("warn")

        def undo() -> None:
            cuda.set_sync_debug_mode(mode)
            cuda.synchronize = synchronize
            caught.__exit__(None, None, None)

        self.undo.append(undo)

    def count(self) -> None:
        self.places[place()] += 1

    def end(self) -> None:
        """Stop counting."""
        for undo in self.undo:
            undo()
        self.undo = []

    def found(self) -> dict:
        """Return {"kind": what was counted, "places": {file:line: count}, the most frequent first}."""
        return {"kind": self.kind, "places": dict(self.places.most_common())}


def reads(count):
    """Return a mode under which each read of a tensor's number calls `count`."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func is torch.ops.aten._local_scalar_dense.default:
                count()
            return func(*args, **(kwargs or {}))

    return Reads()


def place() -> str:
    """Return file and line of the innermost caller outside of torch and of this file."""
    frame = sys._getframe(1)
    while frame is not None:
        path = frame.f_code.co_filename
        if path != __file__ and "/torch/" not in path and not path.endswith("/warnings.py") and path[:1] != "<":
            return f"{'/'.join(Path(path).parts[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "unknown"


def synchronisations(setting: Setting) -> None:
    """Show the waits of one optimizer step, ours and pristine sd-scripts', as their stages counted them."""
    waits = {}
    for name in (PATCHED, PRISTINE):
        path = setting.work / f"{name}.json"
        if path.is_file() and (found := json.loads(path.read_text())["waits"])["kind"]:
            waits[name] = found
    if not waits:
        raise LeftOutError("no trainer ran to the step in which they are counted")
    for name, found in waits.items():
        setting.put(f"{found['kind']} an optimizer step, {name}", sum(found["places"].values()))
    for name, found in waits.items():
        setting.put(f"places, {name}", found["places"])
