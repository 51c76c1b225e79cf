"""From texts to what the U-Net attends to: token ids and hidden states, by a plugin or in one chunk of 77."""

from pathlib import Path

import torch
from transformers import CLIPTokenizer

from extensions import manager
from extensions.encoding import encode_sd2, encode_sdxl

# The folders below --tokenizer_cache_dir, and the Hub's names without it; as upstream's.
TOKENIZERS = {
    "sdxl": ("openai/clip-vit-large-patch14", "laion/CLIP-ViT-bigG-14-laion2B-39B-b160k"),
    "sd2": ("stabilityai/stable-diffusion-2",),
}
SUBFOLDER = {"stabilityai/stable-diffusion-2": "tokenizer"}
LENGTH = 77


class Text:
    """Tokenizes in the data loader's workers and encodes in the loop."""

    def __init__(self, family: str, folder: str | None, clip_skip: int | None):
        self.family, self.clip_skip = family, clip_skip
        self.tokenizers = [load_tokenizer(name, folder) for name in TOKENIZERS[family]]
        if family == "sdxl":
            self.tokenizers[1].pad_token_id = 0  # open_clip pads with 0, the saved tokenizer says EOS

    def tokenize(self, texts: list[str]) -> list[torch.Tensor]:
        """One int64 tensor (b, chunks, 77) a text encoder; without a plugin one chunk, the rest cut off."""
        ids = manager.current().hook.tokenize(texts=texts, tokenizers=self.tokenizers)
        return [one_chunk(texts, tokenizer) for tokenizer in self.tokenizers] if ids is None else ids

    def encode(self, input_ids: list[torch.Tensor], encoders: list, projection) -> list[torch.Tensor]:
        """SDXL: [states (b, 77 n, d1), states (b, 77 n, d2), pooled (b, d2)]; SD2: [states (b, 77 n, d)].

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
            return encode_sdxl(input_ids, encoders, projection, self.tokenizers[1].eos_token_id)
        return [encode_sd2(input_ids[0], encoders[0], self.clip_skip)]


def load_tokenizer(name: str, folder: str | None) -> CLIPTokenizer:
    """The tokenizer of that Hub name, from its folder below `folder` where there is one."""
    local = Path(folder) / name.replace("/", "_") if folder else None
    if local and local.is_dir():
        return CLIPTokenizer.from_pretrained(local)
    return CLIPTokenizer.from_pretrained(name, subfolder=SUBFOLDER.get(name, ""))


def one_chunk(texts: list[str], tokenizer: CLIPTokenizer) -> torch.Tensor:
    """int64 (b, 1, 77): BOS, at most 75 tokens, EOS, padding."""
    ids = tokenizer(texts, padding="max_length", truncation=True, max_length=LENGTH, return_tensors="pt").input_ids
    return ids.unsqueeze(1)
