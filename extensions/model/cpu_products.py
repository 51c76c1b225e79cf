"""Multiplies bf16 tensors on CPUs without bf16 units: in fp32, results rounded to bf16."""

import torch
from torch.nn import functional
from torch.overrides import TorchFunctionMode

PRODUCTS = {
    functional.linear,
    functional.conv2d,
    functional.scaled_dot_product_attention,
    torch.matmul,
    torch.bmm,
    torch.baddbmm,
    torch.Tensor.matmul,
    torch.Tensor.__matmul__,
}


def widened(value):
    """Return a floating tensor as fp32, rounded to bf16 on the way where it is not yet; anything else as it is."""
    if isinstance(value, torch.Tensor) and value.is_floating_point():
        return value.to(torch.bfloat16).float()
    return value


class ProductsInFloat32(TorchFunctionMode):
    """Computes bf16 products in fp32; autograd casts the gradients back by itself.

    Under autocast every product is a bf16 one, whatever its inputs are.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function is torch.Tensor.backward:
            return self.backward(args[0], kwargs.get("gradient"), kwargs.get("retain_graph"))
        if function is torch.autograd.backward:
            return self.backward(args[0], kwargs.get("grad_tensors"), kwargs.get("retain_graph"))
        autocast = torch.is_autocast_enabled("cpu")
        if function not in PRODUCTS or not (autocast or args[0].dtype == torch.bfloat16):
            return function(*args, **kwargs)
        wide = {name: widened(value) for name, value in kwargs.items()}
        with torch.autocast("cpu", enabled=False):
            return function(*map(widened, args), **wide).to(torch.bfloat16)

    def backward(self, tensors, gradients, retain_graph) -> None:
        """Backward with the mode on, for the blocks that checkpointing computes again.

        A mode is off while it handles a call, and the public functions would hand the call back to it;
        the engine below them does not.
        """
        tensors = [tensors] if isinstance(tensors, torch.Tensor) else list(tensors)
        if gradients is None:
            gradients = [torch.ones_like(tensor) for tensor in tensors]
        gradients = [gradients] if isinstance(gradients, torch.Tensor) else list(gradients)
        with self:
            torch.autograd.Variable._execution_engine.run_backward(
                tuple(tensors),
                tuple(gradients),
                bool(retain_graph),
                False,
                (),
                allow_unreachable=True,
                accumulate_grad=True,
            )
