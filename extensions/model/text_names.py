"""Translates text-encoder names between transformers and open_clip, in which SDXL's second and SD2's are stored.

One table, read both ways. open_clip keeps query, key and value of a layer in one tensor; transformers in
three. `text_projection`: open_clip computes `x @ projection`, transformers `x @ weight.T`, so a conversion
should transpose, and diffusers' does. sd-scripts does not, neither on loading nor on saving, so its models
are trained and saved through the transposed matrix. The reference trainer follows it: these runs continue
models made there, and the two trainers must agree (docs: README, "Where the trainers differ").
"""

import re
from collections.abc import Callable, Iterable

import torch

OUTER = {
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "text_projection.weight": "text_projection",
}
LAYER = re.compile(r"text_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)")
INNER = {
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
    "self_attn.out_proj": "attn.out_proj",
}
THIRDS = {"self_attn.q_proj": 0, "self_attn.k_proj": 1, "self_attn.v_proj": 2}


def open_clip_name(name: str) -> tuple[str, int | None]:
    """Return (open_clip's name, which third of it) of a transformers parameter; None: all of it.

    KeyError for a name that is no parameter of a CLIP text model.
    """
    if name in OUTER:
        return OUTER[name], None
    found = LAYER.fullmatch(name)
    if found is None:
        raise KeyError(name)
    number, module, kind = found.groups()
    block = f"transformer.resblocks.{number}."
    if module in THIRDS:
        return f"{block}attn.in_proj_{kind}", THIRDS[module]
    return f"{block}{INNER[module]}.{kind}", None


def from_open_clip(names: Iterable[str], read: Callable[[str], torch.Tensor]) -> dict[str, torch.Tensor]:
    """Build the tensors that a transformers model with these parameter names needs; `read` gives open_clip's."""
    found = {}
    for name in names:
        source, third = open_clip_name(name)
        tensor = read(source)
        # A third must not share its storage with the others: savers drop or refuse shared tensors.
        found[name] = tensor if third is None else tensor.chunk(3)[third].clone()
    return found


def to_open_clip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return a transformers state dict under open_clip's names."""
    found: dict[str, torch.Tensor] = {}
    thirds: dict[str, dict[int, torch.Tensor]] = {}
    for name, tensor in state.items():
        target, third = open_clip_name(name)
        if third is None:
            found[target] = tensor
        else:
            thirds.setdefault(target, {})[third] = tensor
    return found | {name: torch.cat([parts[i] for i in range(3)]) for name, parts in thirds.items()}
