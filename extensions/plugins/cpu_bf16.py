"""Computes bf16 on CPUs without bf16 units: products in fp32, results rounded to bf16.

PyTorch's own bf16 matrix products and convolutions are about ten times slower than fp32 on such a CPU.
The result is that of a GPU's bf16 unit: exact products, accumulated in fp32, rounded once. Weights,
activations, gradients and optimizer state stay bf16. PROFILE=tiny lists this plugin where the CPU needs it;
a run on GPUs never does.
"""

from extensions.hookspecs import hookimpl


class Plugin:
    """Switches the mode on while the run trains."""

    makes_up_for = "bf16 units"  # of the processor: what PROFILE=tiny lists it for

    def __init__(self):
        self.mode = None

    @hookimpl
    def training_begins(self):
        from extensions.model.cpu_products import ProductsInFloat32

        self.mode = ProductsInFloat32()
        self.mode.__enter__()

    @hookimpl
    def run_ended(self):
        if self.mode is not None:
            self.mode.__exit__(None, None, None)
            self.mode = None
