"""How bf16 weights take an update: `--bf16_updates=nearest`, `stochastic` or `kahan`.

With --full_bf16 the weights, too, have 8 bits of precision. At the learning rates of the logbook an update is
smaller than half a unit of most weights and is rounded away by `nearest`, which is what every optimizer does by
itself and what the recorded runs did. `stochastic` rounds up or down at random, right in the mean, and keeps
nothing. `kahan` keeps what was cut off in a bf16 buffer (2 bytes a parameter, in the optimizer's state) and adds
it to the next update.

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

from extensions.base.errors import UserError
from extensions.hookspecs import hookimpl
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
        """An fp32 stand-in with the parameter's value, gradient and state.

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
        """Whether it is a plain tensor of that dtype that follows the weights'; counters have no axes."""
        return self.follows and type(value) is torch.Tensor and value.dtype == dtype and value.dim() > 0

    def generator(self, parameter) -> torch.Generator:
        """Random bits for this parameter at this step."""
        device = parameter.device
        if device not in self.generators:
            self.generators[device] = torch.Generator(device)
        words = f"{self.seed} {self.steps()} {self.numbers[parameter]}"
        digest = hashlib.blake2b(words.encode(), digest_size=8).digest()
        return self.generators[device].manual_seed(int.from_bytes(digest, "little"))


class Plugin:
    """Refuses what makes it pointless, then changes how the optimizer steps."""

    claims = ("how bf16 weights are rounded",)
    run = None

    @hookimpl
    def add_arguments(self, parser):
        group = parser.add_argument_group("bf16_updates")
        group.add_argument(
            "--bf16_updates",
            choices=("nearest", "stochastic", "kahan"),
            help="how bf16 weights take an update: nearest (the optimizer's own), stochastic (right in the mean, "
            "nothing kept) or kahan (keeps what is cut off, 2 bytes a parameter)",
        )

    @hookimpl
    def check_arguments(self, args):
        self.args = args
        how = args.bf16_updates
        if how is None:
            raise UserError("bf16_updates is listed without --bf16_updates; give nearest, stochastic or kahan")
        if not getattr(args, "full_bf16", False):
            raise UserError(f"--bf16_updates={how} without --full_bf16 has no effect: weights are fp32; drop it")
        if getattr(args, "deepspeed", False):
            raise UserError(
                f"--bf16_updates={how} with --deepspeed: ZeRO keeps fp32 master weights and loses no update; drop "
                "one of them"
            )
        if how != "nearest":
            refuse_other_paths(args)

    @hookimpl
    def optimizer_built(self, optimizer):
        how = self.args.bf16_updates
        if how == "nearest":
            return
        if optimizer_facts.of_optimizer(optimizer) is None:
            name = f"{type(optimizer).__module__}.{type(optimizer).__name__}"
            raise UserError(f"--bf16_updates={how}: {name} is not one of docs/optimizers.md; give nearest")
        Updates(optimizer, how == "kahan", self.args.seed or 0, self.steps)

    def steps(self) -> int:
        """Optimizer steps done so far, those before a resume among them."""
        return self.run.optimizer_steps if self.run else 0

    @hookimpl
    def training_begins(self, run):
        self.run = run
        parameters = [p for group in run.optimizer.param_groups for p in group["params"]]
        narrow = sum(p.numel() for p in parameters if p.dtype == torch.bfloat16)
        if not narrow:
            raise UserError(
                f"--bf16_updates={self.args.bf16_updates}: this trainer kept the weights in fp32; drop it"
            )
        if self.args.bf16_updates != "nearest":
            require_equal_gpus(run.accelerator)
        if run.accelerator.is_main_process:
            print(f"bf16_updates: {self.args.bf16_updates}, {narrow:,} bf16 parameters", flush=True)


def refuse_other_paths(args) -> None:
    """UserError for what steps elsewhere, or rounds by itself."""
    how = f"--bf16_updates={args.bf16_updates}"
    for flag in ("fused_backward_pass", "fused_optimizer_groups"):
        if getattr(args, flag, None):
            raise UserError(f"{how} with --{flag}: parameters are updated in the backward pass; drop one of them")
    words = list(args.optimizer_args or [])
    if any(word.startswith("bf16_stochastic_round") for word in words):
        raise UserError(f"{how} and --optimizer_args bf16_stochastic_round both decide the rounding; drop the latter")
    try:
        optimizer_facts.of_flag(optimizer_facts.asked_for(args), words)
    except UserError as error:
        raise UserError(f"{how}: {error}, or --bf16_updates=nearest") from None


def require_equal_gpus(accelerator) -> None:
    """UserError for GPUs of several kinds: they make other random bits of one seed, and weights would drift apart."""
    if accelerator.num_processes == 1 or accelerator.device.type != "cuda":
        return
    from accelerate.utils import gather_object

    kinds = set(gather_object([torch.cuda.get_device_name()]))
    if len(kinds) > 1:
        raise UserError(f"--bf16_updates needs GPUs of one kind, here are {', '.join(sorted(kinds))}; give nearest")
