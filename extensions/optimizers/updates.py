"""Steps an optimizer of bf16 weights on fp32 stand-ins, and rounds what it did back into bf16.

The optimizer steps a few parameters at a time: stand-ins with fp32 copies of weight, gradient and bf16 state, at
most SLICE elements (or one parameter, if it is larger): 17 to 61 bytes an element, by optimizer, at a moment when
no activations are held (plan/optimizer_memory.py has the sum). So it computes exactly as it does on fp32 weights,
and no fp32 copy outlives the slice. State that the optimizer keeps in the dtype of the weights stays bf16 and is
rounded stochastically in both modes: a second moment moves by 0.1% a step, a unit of bf16 is 0.4 to 0.8%, and to
nearest it would never fall again.

Random bits come from (run seed, optimizer step, number of the parameter): the same on every process, the same after
a resume, and PyTorch's own random stream is not touched.
"""

import hashlib
from collections.abc import Callable
from types import MethodType

import torch

from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers import rounding
from extensions.optimizers.facts import SLICE, slices

REMAINDER = "remainder"  # the optimizer's state entry of `kahan`


class Updates:
    """Replaces `optimizer.step`. steps: gives the optimizer steps done so far, over the whole run."""

    def __init__(self, optimizer, kahan: bool, seed: int, steps: Callable[[], int], slice_elements: int = SLICE):
        self.optimizer, self.kahan, self.seed, self.steps = optimizer, kahan, seed, steps
        self.slice_elements = slice_elements
        self.follows = optimizer_facts.of_optimizer(optimizer).follows
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.numbers = {parameter: number for number, parameter in enumerate(parameters)}
        self.generators: dict[torch.device, torch.Generator] = {}
        # A method, bound as the class's own is: learning-rate schedules unwrap it.
        optimizer.step = MethodType(lambda _, closure=None: self.step(closure), optimizer)

    @torch.no_grad()
    def step(self, closure=None):
        """One update of every parameter that has a gradient; returns the closure's loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.optimizer.param_groups:
            after = {}
            moving = (parameter for parameter in group["params"] if parameter.grad is not None)
            for some in slices(moving, torch.Tensor.numel, self.slice_elements):
                after = self.step_slice(group, some)
            group.update(after)
        return loss

    def step_slice(self, group: dict, parameters: list) -> dict:
        """Let the optimizer step these parameters of a group; what it changed in the group besides them.

        Each slice starts from the group as it was, so that a step counted there is counted once.
        """
        stand_ins = [self.widened(p) if p.dtype == torch.bfloat16 else p for p in parameters]
        whole = self.optimizer.param_groups
        part = group | {"params": stand_ins}
        self.optimizer.param_groups = [part]
        try:
            type(self.optimizer).step(self.optimizer)
        finally:
            self.optimizer.param_groups = whole
        for parameter, stand_in in zip(parameters, stand_ins, strict=True):
            if stand_in is not parameter:
                self.take_back(parameter, stand_in)
        return {key: value for key, value in part.items() if key != "params"}

    def widened(self, parameter) -> torch.nn.Parameter:
        """Return an fp32 stand-in with the parameter's value, gradient and state.

        The parameter itself is not changed to fp32: DDP's hooks hang on it and would silently come off.
        """
        stand_in = torch.nn.Parameter(parameter.detach().float())
        stand_in.grad = parameter.grad.float()
        state = self.optimizer.state.pop(parameter, {})
        if REMAINDER in state:
            stand_in.data.add_(state.pop(REMAINDER))
        if state:
            self.optimizer.state[stand_in] = {key: self.wide(value) for key, value in state.items()}
        return stand_in

    def take_back(self, parameter, stand_in) -> None:
        """Round the stand-in's value and state into the parameter's."""
        generator = self.generator(parameter)
        stand_in.grad = None
        state = self.optimizer.state.pop(stand_in, {})
        kept = {key: self.narrow(state[key], generator) for key in sorted(state)}
        if self.kahan:
            rounded, kept[REMAINDER] = rounding.compensated(stand_in.data, generator)
        else:
            rounded = rounding.stochastic(stand_in.data, generator)
        parameter.copy_(rounded)
        self.optimizer.state[parameter] = kept

    def wide(self, value):
        """State in bf16 as fp32."""
        return value.float() if self.is_kept_as(value, torch.bfloat16) else value

    def narrow(self, value, generator):
        """State in fp32 as bf16, where it has the dtype of the weights."""
        return rounding.stochastic(value, generator) if self.is_kept_as(value, torch.float32) else value

    def is_kept_as(self, value, dtype: torch.dtype) -> bool:
        """Tell whether it is a plain tensor of that dtype that follows the weights'; counters have no axes."""
        return self.follows and type(value) is torch.Tensor and value.dtype == dtype and value.dim() > 0

    def generator(self, parameter) -> torch.Generator:
        """Return random bits for this parameter at this step."""
        device = parameter.device
        if device not in self.generators:
            self.generators[device] = torch.Generator(device)
        words = f"{self.seed} {self.steps()} {self.numbers[parameter]}"
        digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
        return self.generators[device].manual_seed(int.from_bytes(digest, "little"))
