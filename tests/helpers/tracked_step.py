"""The memory that updates of full-size SDXL take: PyTorch's memory tracker on fake tensors, nothing is computed."""

import contextlib
from collections.abc import Callable
from unittest import mock

import bitsandbytes
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.nn import functional
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from extensions.flags import settings
from extensions.flags.words import Flags
from extensions.model import checkpointed, full_size
from extensions.model.models import Models
from extensions.plan import trained, vram
from extensions.text.encoding import encode_sdxl

NORMS = ("layer_norm", "group_norm")  # of CUDA's autocast: in fp32; the CPU's leaves them as they are
TOTAL = "Total"  # the tracker's name of the sum of all kinds
EOS = 49407
ENCODERS = (
    (CLIPTextModel, dict(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)),
    (
        CLIPTextModelWithProjection,
        dict(hidden_size=1280, intermediate_size=5120, num_hidden_layers=32, num_attention_heads=20,
             hidden_act="gelu", projection_dim=1280),
    ),
)  # fmt: skip
# bitsandbytes' kernels for GPUs work in place; its map of 256 values is made by looking at them.
STANDING_IN = {
    "optimizer_update_8bit_blockwise": lambda *_, **__: None,
    "optimizer_update_32bit": lambda *_, **__: None,
    "create_dynamic_map": lambda *_, **__: torch.empty(256),
}


class Tracker(MemTracker):
    """PyTorch's, for the sum alone: what tells modules and kinds apart takes no frozen weight."""

    def _update_peak_stats(self, peak_state):
        for device, now in self._curr_mem_snap.items():
            if self._peak_mem.get(device, 0) < now[TOTAL]:
                self._peak_mem[device] = now[TOTAL]
                self._peak_mem_snap[device] = dict(now)

    def _of_module(self, *_):
        """Nothing is asked of a module."""

    _pre_fw_hook = _post_fw_hook = _pre_bw_hook = _post_bw_hook = _of_module

    @property
    def peak(self) -> int:
        return self._peak_mem[torch.device("cpu")]


def peak(words: str, optimizer: Callable) -> int:
    """Bytes at the peak of two updates, of which the second accumulates two passes.

    words: a launcher's flags; of SDXL, --full_bf16, one process. optimizer: makes it of the trained parameters. Needs
    the patched sd-scripts to be importable: the U-Net is its.
    """
    flags = Flags.of_text(words)
    config, setup = settings.of_words(flags), vram.setup(flags, 1)
    with FakeTensorMode(allow_non_fake_inputs=True), contextlib.ExitStack() as stack:
        for name, function in STANDING_IN.items():
            stack.enter_context(mock.patch.object(bitsandbytes.functional, name, function))
        for name in NORMS:
            stack.enter_context(mock.patch.object(functional, name, in_fp32(getattr(functional, name))))
        models = made()
        parameters = freeze(models, config)
        save_memory(models, setup)
        stepped = optimizer(parameters)
        tracker = Tracker()
        tracker.track_external(models.unet, *models.text_encoders, stepped)
        with tracker:
            for passes in (1, 2):
                for _ in range(passes):
                    one_pass(models, setup)
                stepped.step()
                stepped.zero_grad(set_to_none=True)
    return tracker.peak


def in_fp32(function: Callable) -> Callable:
    """The function on fp32 copies of its tensors."""

    def wide(*args, **kwargs):
        def cast(value):
            return value.float() if isinstance(value, torch.Tensor) else value

        return function(*map(cast, args), **{name: cast(value) for name, value in kwargs.items()})

    return wide


def made() -> Models:
    """The three models in bf16, as sd-scripts builds them."""
    from library import sdxl_original_unet

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.bfloat16)
    try:
        unet = sdxl_original_unet.SdxlUNet2DConditionModel().train()
        encoders = [cls(CLIPTextConfig(eos_token_id=2, bos_token_id=0, **config)).train() for cls, config in ENCODERS]
    finally:
        torch.set_default_dtype(before)
    unet.set_use_sdpa(True)
    return Models("sdxl", unet, encoders, None, None)


def freeze(models: Models, config: settings.Settings) -> list[torch.nn.Parameter]:
    """Freeze what the run does not train; the rest."""
    found = []
    for name, shapes in full_size.shapes("sdxl").items():
        trains = trained.trained(name, shapes, config)
        for key, parameter in models.named()[name].named_parameters():
            # The second encoder's names are another library's in the list; it trains whole or not at all.
            parameter.requires_grad_(key in trains or (name == "text encoder 2" and bool(trains)))
            found += [parameter] if parameter.requires_grad else []
    return found


def save_memory(models: Models, setup: vram.Setup) -> None:
    """Checkpoint as --gradient_checkpointing does, or as --recompute chose."""
    if setup.kept is not None:
        units = [*setup.kept.kept, *setup.kept.recomputed]
        checkpointed.recompute(checkpointed.wrap(models, units), setup.kept.recomputed)
    elif setup.shape.checkpointing:
        models.unet.enable_gradient_checkpointing()
        for encoder in models.text_encoders:
            encoder.gradient_checkpointing_enable()


def one_pass(models: Models, setup: vram.Setup) -> None:
    """One micro-step under CUDA's autocast."""
    shape = setup.shape
    latents = torch.randn(shape.batch, 4, shape.height // 8, shape.width // 8, dtype=torch.bfloat16)
    ids = [torch.full((shape.batch, shape.tokens // 77, 77), EOS) for _ in models.text_encoders]
    vector = torch.randn(shape.batch, 2816 - 1280, dtype=torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        first, second, pooled = encode_sdxl(ids, models.text_encoders, models.text_encoders[1].text_projection, EOS)
        context = torch.cat([first, second], dim=2).to(torch.bfloat16)
        predicted = models.unet(
            latents,
            torch.randint(0, 1000, (shape.batch,)),
            context,
            torch.cat([pooled.to(context.dtype), vector], dim=1),
        )
        loss = functional.mse_loss(predicted.float(), torch.randn(predicted.shape))
    loss.backward()
