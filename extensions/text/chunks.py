"""Cuts token ids into chunks of 75 the way AUTOMATIC1111's web UI cuts them.

The rule (A1111, `modules/sd_hijack_clip.py`, default settings): tokens fill chunks of 75, each wrapped in
its own BOS and EOS (77). When a chunk is full and its last comma lies within the last 20 tokens, what
follows that comma moves to the next chunk; a comma that is the 76th token begins the next chunk and is
forgotten. The word BREAK ends a chunk, an empty one too. A short chunk is filled up with EOS; for encoders
whose pad token is not EOS (SD2, SDXL's second), what follows the first EOS becomes pad. The hidden states of
all chunks are joined along the token axis, every BOS and EOS kept (77 x n); the pooled vector is the first
chunk's. In a batch, shorter texts get empty chunks. Unlike A1111, no text can make an EOS (`literal.py`).
"""

import re

from extensions.text.literal import literal

CHUNK = 75  # tokens between BOS and EOS
BACKTRACK = 20  # A1111's "comma_padding_backtrack"
COMMA = ",</w>"
BREAK = re.compile(r"\bBREAK\b")


def ids_of(text: str, tokenizer) -> list[int]:
    """Token ids of a text without BOS, EOS or truncation; a special token in the text is read as words."""
    options = {"add_special_tokens": False, "truncation": False, "split_special_tokens": True}
    return literal(tokenizer)(text, verbose=False, **options).input_ids


def text_parts(text: str, tokenizer) -> list[list[int]]:
    """Return `ids_of` each part between BREAKs."""
    return [ids_of(part, tokenizer) for part in BREAK.split(text)]


def cut(parts: list[list[int]], comma: int | None, backtrack: int = BACKTRACK) -> list[list[int]]:
    """Chunks of at most 75 ids; at least one, which may be empty.

    comma: the id of the comma token; None cuts every 75 tokens regardless of commas ("plain").
    """
    chunks: list[list[int]] = []
    chunk: list[int] = []
    last_comma = None  # length of the chunk when its last comma arrived, that is, the comma's index

    def close(carried: list[int]) -> None:
        nonlocal chunk, last_comma
        chunks.append(chunk)
        chunk, last_comma = carried, None

    for number, part in enumerate(parts):
        if number:
            close([])
        for token in part:
            if token == comma:
                last_comma = len(chunk)
            elif len(chunk) == CHUNK and last_comma is not None and CHUNK - last_comma <= backtrack:
                carried = chunk[last_comma + 1 :]
                del chunk[last_comma + 1 :]
                close(carried)
            if len(chunk) == CHUNK:
                close([])
            chunk.append(token)
    if chunk or not chunks:
        close([])
    return chunks


def wrap(chunk: list[int], tokenizer) -> list[int]:
    """Return 77 ids: BOS, the chunk, EOS up to the end; after the first EOS pad, where that is another token."""
    ids = [tokenizer.bos_token_id, *chunk, *[tokenizer.eos_token_id] * (CHUNK + 1 - len(chunk))]
    first = ids.index(tokenizer.eos_token_id) + 1
    return ids[:first] + [tokenizer.pad_token_id] * (len(ids) - first)


def kept(chunks: list[list[int]], limit: int) -> tuple[int, int, int]:
    """Return (chunks, tokens before the cut, tokens lost) of a text at --max_token_chunks, for the report."""
    lengths = [len(chunk) for chunk in chunks]
    used = min(len(chunks), limit or len(chunks))
    return used, sum(lengths), sum(lengths[used:])
