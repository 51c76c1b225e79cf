"""Compiles the models in place for full fine-tuning (--torch_compile).

accelerate's way, which upstream takes, wraps each model: training text encoders dies (the wrapper has no
length), names in checkpoints get `_orig_mod.`, and under DeepSpeed nothing is compiled at all. `Module.compile`
changes how a module is called and not what it is: names stay, and DDP and ZeRO never notice.

    --torch_compile --dynamo_backend=inductor   as upstream's
    --compile_scope=blocks   each kind of transformer block once (default): what repeats 70 times in SDXL's U-Net
                             and 44 times in its encoders is compiled once for each width, and a backward pass of
                             many parts lets DDP send gradients while it goes on
    --compile_scope=model    each model as one graph: more to fuse, many times the compiling for each new shape

Shapes change with the bucket (25) and the number of chunks. Dynamo compiles the second shape it meets with
sizes as variables, which then serves all others; the limit below leaves room for what still differs (frozen
or not, with or without gradient, widths). Compiled code is kept in the run's own cache folder, so that only
the first launch of a run waits (`extensions/launch/command.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.base.errors import UserError
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl

if TYPE_CHECKING:
    import torch

SCOPES = ("blocks", "model")
# The repeated blocks: of upstream's and diffusers' U-Nets alike, and of transformers' CLIP.
BLOCKS = ("BasicTransformerBlock", "CLIPEncoderLayer")
RECOMPILE_LIMIT = 64  # variants of one function, after which dynamo leaves it uncompiled; its default is 8


class Plugin:
    """Compiles when everything is prepared, and says at the end what was compiled."""

    claims = ("how models are compiled",)
    reads = ("torch_compile", "dynamo_backend")
    flags = (
        Flag(
            "compile_scope",
            str,
            "compile the repeated transformer blocks, or each model as one graph",
            default=SCOPES[0],
            choices=SCOPES,
        ),
    )

    def __init__(self):
        self.models, self.backend, self.scope = None, None, SCOPES[0]

    @hookimpl
    def check_arguments(self, args):
        if not args.torch_compile:
            raise UserError("dynamo is listed without --torch_compile; add the flag, or take dynamo off the list")
        import torch._dynamo

        known = torch._dynamo.list_backends(exclude_tags=())
        self.backend, self.scope = args.dynamo_backend.lower(), args.compile_scope
        if self.backend not in known:
            raise UserError(f"--dynamo_backend={args.dynamo_backend} is not installed; there is {', '.join(known)}")
        args.torch_compile = False  # the trainer's own way; the record keeps the flag as the launcher gave it

    @hookimpl
    def models_loaded(self, models):
        self.models = models

    @hookimpl
    def training_begins(self, run):
        import torch._dynamo

        torch._dynamo.config.recompile_limit = RECOMPILE_LIMIT
        modules = compiled_modules(self.models, self.scope)
        for module in modules:
            module.compile(backend=self.backend)
        run.accelerator.print(f"dynamo: {len(modules)} modules to be compiled by {self.backend} as they are called")

    @hookimpl
    def optimizer_step_ended(self, run):
        """Raise UserError where nothing was compiled: no model silently trains uncompiled."""
        if self.backend and not graphs():
            raise UserError(f"--torch_compile: {self.backend} compiled nothing; take --torch_compile out")

    @hookimpl
    def run_ended(self, error):
        if error is None and self.backend and graphs():
            import torch._dynamo

            breaks = sum(torch._dynamo.utils.counters["graph_break"].values())
            print(f"dynamo: {graphs()} graphs compiled on this process, {breaks} graph breaks", flush=True)


def compiled_modules(models, scope: str) -> list[torch.nn.Module]:
    """Return the modules of a scope. UserError where a model has no block of a known kind."""
    named = models.named()
    if scope == "model":
        return list(named.values())
    found = {name: [m for m in model.modules() if type(m).__name__ in BLOCKS] for name, model in named.items()}
    for name, blocks in found.items():
        if not blocks:
            raise UserError(f"--compile_scope=blocks: {name} has none of {', '.join(BLOCKS)}; use model")
    return [block for blocks in found.values() for block in blocks]


def graphs() -> int:
    """Graphs that dynamo has compiled in this process."""
    import torch._dynamo

    return torch._dynamo.utils.counters["stats"]["unique_graphs"]
