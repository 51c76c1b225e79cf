"""Bytes against what torch saves with fake tensors, FLOPs against torch's counter; of both trainers' modules."""

from contextlib import contextmanager

import pytest
import torch
from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode
from transformers import CLIPTextConfig
from transformers.models.clip.modeling_clip import CLIPEncoderLayer

from extensions.model import piece_costs
from extensions.model.pieces import Pass, Piece
from tests.helpers.saved_bytes import saved_bytes

SIDE, TOKENS, CONTEXT, EMBEDDING = 32, 231, 2048, 1280
PRECISIONS = {"bf16": torch.bfloat16, "fp32": torch.float32}
TRAINERS = [pytest.param("sd-scripts", marks=pytest.mark.upstream), "reference"]


def one_pass(precision: str) -> Pass:
    return Pass(8 * SIDE, 8 * SIDE, batch=2, tokens=TOKENS, number=PRECISIONS[precision].itemsize)


@contextmanager
def of_dtype(precision: str):
    """Fake tensors: shapes and types as they are, no memory, the CPU's memory-efficient attention."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(PRECISIONS[precision])
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        torch.set_default_dtype(before)


def residual(trainer: str, into: int, out: int, request):
    if trainer == "reference":
        return ResnetBlock2D(in_channels=into, out_channels=out, temb_channels=EMBEDDING, eps=1e-5)
    request.getfixturevalue("patched")
    from library import sdxl_original_unet

    return sdxl_original_unet.ResnetBlock2D(into, out)


def block(trainer: str, width: int, request):
    heads = width // 64
    if trainer == "reference":
        return BasicTransformerBlock(width, heads, 64, cross_attention_dim=CONTEXT)
    request.getfixturevalue("patched")
    from library import sdxl_original_unet

    made = sdxl_original_unet.BasicTransformerBlock(width, heads, 64, CONTEXT)
    made.set_use_sdpa(True)
    return made


def image(width: int) -> torch.Tensor:
    return torch.empty(2, width, SIDE, SIDE, requires_grad=True)


def tokens(width: int) -> torch.Tensor:
    return torch.empty(2, SIDE * SIDE, width, requires_grad=True)


def case(trainer: str, kind: str, into: int, out: int, request):
    """A module, its inputs, the piece that it is and the shapes of its parameters that the counts read."""
    piece = Piece(kind, into, out, 1, "")
    if kind == "residual":
        own = {"emb_layers.1.weight": (out, EMBEDDING)} | ({"skip_connection.weight": ()} if into != out else {})
        return residual(trainer, into, out, request), (image(into), torch.empty(2, EMBEDDING)), {}, piece, own
    if kind == "block":
        text = torch.empty(2, TOKENS, CONTEXT, requires_grad=True)
        words = {"context" if trainer == "sd-scripts" else "encoder_hidden_states": text}
        return block(trainer, into, request), (tokens(into),), words, piece, {piece_costs.TEXT: (into, CONTEXT)}
    return Upsample2D(into, use_conv=True, out_channels=out), (image(into),), {}, piece, {}


RESIDUALS = [("residual", into, 640) for into in (640, 1920, 320)]
CASES = [*RESIDUALS, ("block", 640, 640), ("up", 640, 640)]


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("trains", [True, False], ids=["trained", "frozen"])
@pytest.mark.parametrize(("kind", "into", "out"), CASES)
def test_what_a_piece_keeps(trainer, precision, trains, kind, into, out, request):
    with of_dtype(precision):
        module, inputs, words, piece, own = case(trainer, kind, into, out, request)
        module.requires_grad_(trains)
        measured = saved_bytes(module, *inputs, autocast=precision == "bf16", **words)
    counted = piece_costs.BYTES[kind](piece, own, trains, one_pass(precision))
    # diffusers' text is in bf16 already; sd-scripts' is made fp32, and bf16 again for each reader, which is counted.
    assert counted == pytest.approx(measured, rel=0.03 if trainer == "sd-scripts" else 0.05)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize(("kind", "into", "out"), CASES)
def test_flops_forward_and_again(trainer, kind, into, out, request):
    with torch.device("meta"):
        module, inputs, words, piece, own = case(trainer, kind, into, out, request)
    whole, again = piece_costs.FLOPS[kind](piece, own, one_pass("fp32"))
    with FlopCounterMode(display=False) as counter:
        module(*inputs, **words)
    assert whole == pytest.approx(counter.get_total_flops(), rel=1e-9)
    kept, recomputed = (both_ways(module, inputs, words, again) for again in (False, True))
    assert again == pytest.approx(recomputed - kept, rel=1e-9, abs=1)


def both_ways(module, inputs, words, recomputed: bool) -> int:
    """FLOPs of a forward and a backward pass."""
    with FlopCounterMode(display=False) as counter:
        how = {"use_reentrant": False, "preserve_rng_state": False}
        out = checkpoint(module, *inputs, **how, **words) if recomputed else module(*inputs, **words)
        out.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("quick", [True, False])
def test_a_text_encoders_layer(precision, quick):
    config = CLIPTextConfig(
        hidden_size=768, intermediate_size=3072, num_attention_heads=12, hidden_act="quick_gelu" if quick else "gelu"
    )
    config._attn_implementation = "sdpa"
    one = Pass(64, 64, batch=1, tokens=77, number=PRECISIONS[precision].itemsize)
    with of_dtype(precision):
        layer = CLIPEncoderLayer(config).train()
        states = torch.empty(3, 77, 768, requires_grad=True)
        mask = torch.empty(1, 1, 77, 77)
        measured = saved_bytes(layer, states, mask, None, autocast=precision == "bf16")
    # transformers 4.56 keeps one width less than the versions before it.
    assert piece_costs.layer_bytes(768, 3 * 77, quick, one) == pytest.approx(measured, rel=0.06)
    with torch.device("meta"):
        layer = CLIPEncoderLayer(config)
        states, mask = torch.empty(3, 77, 768, requires_grad=True), torch.empty(1, 1, 77, 77)

    def run(states):
        return layer(states, mask, None)[0]

    kept, recomputed = (both_ways(run, (states,), {}, again) for again in (False, True))
    with FlopCounterMode(display=False) as counter:
        run(states)
    whole, again = piece_costs.layer_flops(768, 3 * 77, one)
    assert whole == pytest.approx(counter.get_total_flops(), rel=1e-9)
    assert again == pytest.approx(recomputed - kept, rel=1e-9)
