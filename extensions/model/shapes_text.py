"""Lists keys and shapes of the text encoders: transformers' CLIP layout and open_clip's, for any width.

The number of heads cannot be read off the shapes. The rule is the real models' own: 64 channels a
head (768 / 12, 1280 / 20, 1024 / 16), so widths are multiples of 64.
"""

from extensions.model.shapes import Shapes, linear, norm

VOCABULARY = 49408
POSITIONS = 77


def clip_shapes(width: int, layers: int) -> Shapes:
    """Return `transformers.CLIPTextModel` (SDXL's first encoder); `position_ids` is an int64 buffer, not listed."""
    shapes: Shapes = {
        "text_model.embeddings.token_embedding.weight": (VOCABULARY, width),
        "text_model.embeddings.position_embedding.weight": (POSITIONS, width),
    }
    for index in range(layers):
        shapes |= _clip_layer(f"text_model.encoder.layers.{index}", width)
    return shapes | norm("text_model.final_layer_norm", width)


def _clip_layer(name: str, width: int) -> Shapes:
    shapes = norm(f"{name}.layer_norm1", width) | norm(f"{name}.layer_norm2", width)
    for key in ("q_proj", "k_proj", "v_proj", "out_proj"):
        shapes |= linear(f"{name}.self_attn.{key}", width, width)
    return shapes | linear(f"{name}.mlp.fc1", 4 * width, width) | linear(f"{name}.mlp.fc2", width, 4 * width)


def open_clip_shapes(width: int, layers: int, projection: int) -> Shapes:
    """open_clip's text tower (SDXL's second encoder, SD2's only one); `text_projection` is (width, out)."""
    shapes: Shapes = {
        "token_embedding.weight": (VOCABULARY, width),
        "positional_embedding": (POSITIONS, width),
        "text_projection": (width, projection),
        "logit_scale": (),
    }
    for index in range(layers):
        shapes |= _open_clip_layer(f"transformer.resblocks.{index}", width)
    return shapes | norm("ln_final", width)


def _open_clip_layer(name: str, width: int) -> Shapes:
    shapes = norm(f"{name}.ln_1", width) | norm(f"{name}.ln_2", width)
    shapes |= {f"{name}.attn.in_proj_weight": (3 * width, width), f"{name}.attn.in_proj_bias": (3 * width,)}
    shapes |= linear(f"{name}.attn.out_proj", width, width)
    shapes |= linear(f"{name}.mlp.c_fc", 4 * width, width)
    return shapes | linear(f"{name}.mlp.c_proj", width, 4 * width)
