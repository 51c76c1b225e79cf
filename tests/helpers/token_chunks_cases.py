"""What the tests of chunks share: A1111's rule stated once more, the tokenizers, the plugin, the ids of a chunk."""

import importlib.util
from pathlib import Path

from extensions.plugins import token_chunks
from extensions.text.literal import literal
from tests.helpers.plugin_flags import parsed

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
        family: [literal(CLIPTokenizer.from_pretrained(standins["tokenizers"] / name)) for name in names]
        for family, names in TOKENIZERS.items()
    }
    found["sdxl"][1].pad_token_id = 0  # as upstream does
    return found


def open_clips():
    """open_clip's own tokenizer, A1111's for SD2 and SDXL's second encoder (its file alone: no model code)."""
    package = importlib.util.find_spec("open_clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("open_clip_tokenizer", Path(package) / "tokenizer.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer().encode


def plugin(*words: str, **trainers):
    """The plugin, from its flags and the trainer's. UserError for those that it refuses."""
    made = token_chunks.Plugin()
    made.check_arguments(args=parsed("token_chunks", *words, **{"max_token_length": None} | trainers))
    return made


def row(chunk: list[int], pad: int) -> list[int]:
    """The 77 ids of a chunk."""
    return ([BOS, *chunk, EOS] + [pad] * 75)[:77]


def placed(tokens: list[int]) -> list[list[int]]:
    """The rule for tokens without BREAK, by looking ahead: see 75 tokens and the next one, decide where to cut.

    Given more than 75 tokens to place, and the 76th not a comma: if one of the chunk's tokens at index
    55 to 74 is a comma, cut after the last such; otherwise cut after 75. A 76th that is a comma is
    where A1111 forgets the commas before it.
    """
    found, start = [], 0
    while len(tokens) - start > 75:
        end = 75
        if tokens[start + 75] != COMMA:
            late = [index for index in range(55, 75) if tokens[start + index] == COMMA]
            end = late[-1] + 1 if late else 75
        found.append(tokens[start : start + end])
        start += end
    return [*found, tokens[start:]] if start < len(tokens) else found


def between_breaks(text: str) -> list[str]:
    """The text between the words BREAK: capitals, neither letter, digit nor underscore on either side."""
    pieces, begin, at = [], 0, text.find("BREAK")
    while at >= 0:
        around = (text[at - 1 : at] if at else "") + text[at + 5 : at + 6]
        if not any(sign.isalnum() or sign == "_" for sign in around):
            pieces.append(text[begin:at])
            begin = at + 5
        at = text.find("BREAK", at + 1)
    return [*pieces, text[begin:]]


def expected(text: str, encode) -> list[list[int]]:
    """Chunks of a text. A BREAK ends a chunk, though it be empty; a text ends none that it has not begun."""
    *closed, last = [placed(encode(piece)) for piece in between_breaks(text)]
    chunks = [chunk for piece in closed for chunk in piece or [[]]]
    return [*chunks, *last] or [[]]
