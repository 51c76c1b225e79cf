"""What torch saves for the backward pass of a module as a GPU runs it, measured with fake tensors on any machine."""

from contextlib import nullcontext

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

# Of CUDA's autocast (torch.amp, "Op Eligibility"): what the models call.
LOW = {functional.linear, functional.conv2d, functional.scaled_dot_product_attention, torch.conv2d}
FP32 = {functional.layer_norm, functional.group_norm, torch.layer_norm, torch.group_norm}


class CudaAutocast(TorchFunctionMode):
    """CUDA's rules of bf16 autocast, on another device: the CPU's own leave norms as they are."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        dtype = torch.bfloat16 if function in LOW else torch.float32 if function in FP32 else None
        if dtype is None:
            return function(*args, **(kwargs or {}))

        def cast(value):
            floating = isinstance(value, torch.Tensor) and value.is_floating_point()
            return value.to(dtype) if floating else value

        return function(*map(cast, args), **{name: cast(value) for name, value in (kwargs or {}).items()})


def saved_bytes(module, *inputs, autocast: bool, **more) -> int:
    """Bytes of all storages that are saved for the backward pass, the module's parameters left out."""
    seen = {parameter.untyped_storage()._cdata: 0 for parameter in module.parameters()}
    alive = []

    def pack(tensor):
        storage = tensor.untyped_storage()
        seen.setdefault(storage._cdata, storage.nbytes())
        alive.append(storage)  # or its address would be used again
        return tensor

    hooks = torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)
    with hooks, CudaAutocast() if autocast else nullcontext():
        kept = module(*inputs, **more)
    assert kept is not None
    return sum(seen.values())
