"""Encodes texts for the U-Net: token ids and hidden states, by a plugin or as upstream has them.

Upstream cuts a text at 75 tokens. With --max_token_length=150 or 225 it cuts there, runs the encoders over two or
three chunks of 77, always so many, and takes out the EOS and BOS where chunks meet. No inference UI does
that; it is here so that both trainers repeat the same run. The plugin token_chunks has what UIs do.
"""

from pathlib import Path

import torch
from transformers import CLIPTokenizer

from extensions import manager
from extensions.text.encoding import encode_sd2, encode_sdxl
from extensions.text.literal import literal
from extensions.text.word_cache import bounded

# The folders below --tokenizer_cache_dir, and the Hub's names without it; as upstream's.
TOKENIZERS = {
    "sdxl": ("openai/clip-vit-large-patch14", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"),
    "sd2": ("stabilityai/stable-diffusion-2",),
}
SUBFOLDER = {"stabilityai/stable-diffusion-2": "tokenizer"}
CHUNK = 75  # tokens between BOS and EOS


class Text:
    """Tokenizes in the data loader's workers and encodes in the loop."""

    def __init__(self, family: str, folder: str | None, clip_skip: int | None, length: int | None = None):
        self.family, self.clip_skip, self.length = family, clip_skip, length or CHUNK
        self.tokenizers = [load_tokenizer(name, folder) for name in TOKENIZERS[family]]
        if family == "sdxl":
            self.tokenizers[1].pad_token_id = 0  # open_clip pads with 0, the saved tokenizer says EOS

    def tokenize(self, texts: list[str]) -> list[torch.Tensor]:
        """One int64 tensor (b, chunks, 77) a text encoder; without a plugin cut as upstream cuts."""
        ids = manager.current().hook.tokenize(texts=texts, tokenizers=self.tokenizers)
        return [cut_at(self.length, texts, tokenizer) for tokenizer in self.tokenizers] if ids is None else ids

    def encode(self, input_ids: list[torch.Tensor], encoders: list, projection) -> list[torch.Tensor]:
        """SDXL: [states (b, 77 n, d1), states (b, 77 n, d2), pooled (b, d2)]; SD2: [states (b, 77 n, d)].

        Upstream's own cut at n chunks has 75 n + 2 positions instead of 77 n.
        encoders: the models as prepared for training. projection: SDXL's second encoder's, unwrapped.
        """
        states = manager.current().hook.encode_tokens(
            input_ids=input_ids,
            tokenizers=self.tokenizers,
            text_encoders=encoders,
            projection=projection,
            clip_skip=self.clip_skip,
        )
        if states is not None:
            return states
        if self.family == "sdxl":
            *states, pooled = encode_sdxl(input_ids, encoders, projection, self.tokenizers[1].eos_token_id)
            return [*(without_seams(each) for each in states), pooled]
        return [without_seams(encode_sd2(input_ids[0], encoders[0], self.clip_skip))]


def load_tokenizer(name: str, folder: str | None) -> CLIPTokenizer:
    """Return the tokenizer of that Hub name, from its folder below `folder` where there is one."""
    local = Path(folder) / name.replace("/", "_") if folder else None
    if local and local.is_dir():
        return bounded(literal(CLIPTokenizer.from_pretrained(local)))
    return bounded(literal(CLIPTokenizer.from_pretrained(name, subfolder=SUBFOLDER.get(name, ""))))


def cut_at(length: int, texts: list[str], tokenizer: CLIPTokenizer) -> torch.Tensor:
    """int64 (b, length / 75, 77): at most `length` tokens, 75 a chunk, padded. length: a multiple of 75.

    The same ids as upstream's `TokenizeStrategy._get_input_ids`, its accidents with padding tokens included.
    """
    options = {"padding": "max_length", "truncation": True, "max_length": length + 2, "return_tensors": "pt"}
    ids = tokenizer(texts, **options).input_ids
    inner = ids[:, 1:-1].unflatten(1, (-1, CHUNK))
    first, last = (ids[:, place, None, None].expand(-1, inner.shape[1], 1) for place in (0, -1))
    chunks = torch.cat([first, inner, last], 2)
    eos, pad = tokenizer.eos_token_id, tokenizer.pad_token_id
    if length > CHUNK and pad != eos:
        # A chunk that is full ends with EOS, one that is empty begins with it.
        full = (chunks[..., -2] != eos) & (chunks[..., -2] != pad)
        chunks[..., -1].masked_fill_(full, eos)
        chunks[..., 1].masked_fill_(chunks[..., 1] == pad, eos)
    return chunks


def without_seams(states: torch.Tensor) -> torch.Tensor:
    """Return (b, 77 n, d) -> (b, 75 n + 2, d): the first BOS, 75 positions a chunk, the last EOS or padding."""
    inner = states.unflatten(1, (-1, CHUNK + 2))[:, :, 1:-1].flatten(1, 2)
    return torch.cat([states[:, :1], inner, states[:, -1:]], 1)
