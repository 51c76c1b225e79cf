"""Steps an optimizer of bf16 weights on fp32 stand-ins, and rounds what it did back into bf16.

The optimizer steps a few parameters at a time: stand-ins with fp32 copies of weight, gradient and bf16 state, at
most SLICE elements (or one parameter, if it is larger): 8 to 61 bytes an element, by optimizer, at a moment when
no activations are held (plan/optimizer_memory.py has the sum). So it computes exactly as it does on fp32 weights,
and no fp32 copy outlives the slice. State that the optimizer keeps in the dtype of the weights stays bf16 and is
rounded stochastically in both modes: a second moment moves by 0.1% a step, a unit of bf16 is 0.4 to 0.8%, and to
nearest it would never fall again. The copies of a slice share a buffer each (flat.py): a model has 2,000 parameters,
and a GPU waits for a processor that has a dozen small things to do for each.

Random bits come from (run seed, optimizer step, number of the parameter): the same on every process, the same after
a resume, and PyTorch's own random stream is not touched.
"""

import hashlib
from collections.abc import Callable
from types import MethodType

import torch

from extensions.optimizers import facts as optimizer_facts
from extensions.optimizers import kernels, rounding
from extensions.optimizers.facts import PIECE, SLICE, slices
from extensions.optimizers.flat import Flat

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
        low = [parameter for parameter in parameters if parameter.dtype == torch.bfloat16]
        states = self.wide_states(low)
        weights = Flat([parameter.detach() for parameter in low])
        stand_ins = self.stand_ins(low, weights)
        whole = self.optimizer.param_groups
        part = group | {"params": [stand_ins.get(parameter, parameter) for parameter in parameters]}
        self.optimizer.param_groups = [part]
        try:
            type(self.optimizer).step(self.optimizer)
        finally:
            self.optimizer.param_groups = whole
        self.take_back(stand_ins, weights, states)
        return {key: value for key, value in part.items() if key != "params"}

    def wide_states(self, low: list) -> Flat:
        """Put fp32 copies in the place of the state that is kept in bf16."""
        state = self.optimizer.state
        kept = [
            (parameter, key)
            for parameter in low
            for key in sorted(state.get(parameter, ()))
            if key != REMAINDER and self.is_kept_as(state[parameter][key], torch.bfloat16)
        ]
        wide = Flat([state[parameter][key] for parameter, key in kept])
        for (parameter, key), view in zip(kept, wide.views, strict=True):
            state[parameter][key] = view
        return wide

    def stand_ins(self, low: list, weights: Flat) -> dict:
        """Return {parameter: fp32 stand-in with its value, gradient and state}.

        The parameter itself is not changed to fp32: DDP's hooks hang on it and would silently come off.
        """
        gradients = Flat([parameter.grad for parameter in low])
        made, rests = {}, {}
        for parameter, value, gradient in zip(low, weights.views, gradients.views, strict=True):
            made[parameter] = stand_in = torch.nn.Parameter(value)
            stand_in.grad = gradient
            if state := self.optimizer.state.pop(parameter, None):
                rests[value] = state.pop(REMAINDER, None)
                self.optimizer.state[stand_in] = state
        if rests := {value: rest for value, rest in rests.items() if rest is not None}:
            torch._foreach_add_(list(rests), list(rests.values()))
        return made

    def take_back(self, stand_ins: dict, weights: Flat, states: Flat) -> None:
        """Round the stand-ins' values and state into the parameters'."""
        kept: list[tuple[dict, str]] = []  # the state that follows the weights' dtype
        for parameter, stand_in in stand_ins.items():
            stand_in.grad = None
            state = self.optimizer.state.pop(stand_in, {})
            self.optimizer.state[parameter] = {key: state[key] for key in sorted(state)}
            kept += [
                (self.optimizer.state[parameter], key)
                for key in sorted(state)
                if self.is_kept_as(state[key], torch.float32)
            ]
        states = states.holding([state[key] for state, key in kept])
        weights = weights.holding([stand_in.data for stand_in in stand_ins.values()])
        noise = self.noise(stand_ins, weights, states, kept)
        nudge_, rest_ = kernels.of(weights.buffer.device)
        if kept:
            in_pieces(nudge_, states.buffer, noise.pop(0))
            for (state, key), narrow in zip(kept, narrowed(states.views), strict=True):
                state[key] = narrow
        if not stand_ins:
            return
        if self.kahan:
            Flat.take([parameter.detach() for parameter in stand_ins], weights.views)
            in_pieces(rest_, weights.buffer, noise.pop())
            for parameter, rest in zip(stand_ins, narrowed(weights.views), strict=True):
                self.optimizer.state[parameter][REMAINDER] = rest
            return
        in_pieces(nudge_, weights.buffer, noise.pop())
        Flat.take([parameter.detach() for parameter in stand_ins], weights.views)

    def noise(self, stand_ins, weights: Flat, states: Flat, kept) -> list[torch.Tensor]:
        """Return the random bits for all states and for all weights, int16, laid out as these are.

        A parameter's own come from its own seed: those of its state first, in the order of the names, its weight's
        last.
        """
        drawn = [
            torch.empty(len(flat.buffer) // rounding.ELEMENTS, dtype=torch.int64, device=flat.buffer.device)
            for flat in (states, weights)
        ]
        at = 0
        for number, parameter in enumerate(stand_ins):
            generator = self.generator(parameter)
            own = self.optimizer.state[parameter]
            while at < len(kept) and kept[at][0] is own:
                draw(drawn[0], states, at, generator)
                at += 1
            draw(drawn[1], weights, number, generator)
        return [words.view(torch.int16) for words in drawn]

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


def in_pieces(rounding_: kernels.Rounding, values: torch.Tensor, noise: torch.Tensor) -> None:
    """Round a buffer PIECE elements at a time: what the operators need for a moment stays small."""
    for some, bits in zip(values.split(PIECE), noise.split(PIECE), strict=True):
        rounding_(some, bits)


def draw(words: torch.Tensor, flat: Flat, number: int, generator: torch.Generator) -> None:
    """Fill the random words of one tensor of a buffer."""
    start, count = flat.starts[number] // rounding.ELEMENTS, -(-flat.views[number].numel() // rounding.ELEMENTS)
    rounding.draw_(words[start : start + count], generator)


def narrowed(views: list[torch.Tensor]) -> list[torch.Tensor]:
    """Return the values as bf16 tensors of their own: one that shared a buffer would keep all of it alive."""
    made = [torch.empty_like(view, dtype=torch.bfloat16) for view in views]
    Flat.take(made, views)
    return made
