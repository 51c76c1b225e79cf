"""What the tests of token_chunks share: the plugin, the families' tokenizers, the ids of a chunk."""

import argparse

from extensions.plugins import token_chunks

COMMA, BOS, EOS = 267, 49406, 49407
TOKENIZERS = {
    "sdxl": ("openai_clip-vit-large-patch14", "laion_CLIP-ViT-bigG-14-laion2B-39B-b160k"),
    "sd2": ("stabilityai_stable-diffusion-2",),
}
PADS = {"sdxl": (EOS, 0), "sd2": (0,)}


def loaded(standins) -> dict[str, list]:
    """{family: tokenizers as the trainers load them}."""
    from transformers import CLIPTokenizer

    found = {
        family: [CLIPTokenizer.from_pretrained(standins["tokenizers"] / name) for name in names]
        for family, names in TOKENIZERS.items()
    }
    found["sdxl"][1].pad_token_id = 0  # as upstream does
    return found


def plugin(**flags):
    """The plugin, with flags other than the defaults. UserError for those that it refuses."""
    made = token_chunks.Plugin()
    args = {"token_chunks": "a1111", "max_token_chunks": 0, "max_token_length": None} | flags
    made.check_arguments(args=argparse.Namespace(**args))
    return made


def row(chunk: list[int], pad: int) -> list[int]:
    """The 77 ids of a chunk."""
    return ([BOS, *chunk, EOS] + [pad] * 75)[:77]
