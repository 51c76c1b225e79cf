"""Prompts of any length, cut into chunks of 75 tokens the way AUTOMATIC1111's web UI cuts them.

The rule (A1111, `modules/sd_hijack_clip.py`, default settings): tokens fill chunks of 75, each wrapped in
its own BOS and EOS (77). When a chunk is full and its last comma lies within the last 20 tokens, what
follows that comma moves to the next chunk; a comma that is the 76th token begins the next chunk and is
forgotten. The word BREAK ends a chunk, an empty one too. A short chunk is filled up with EOS; for encoders
whose pad token is not EOS (SD2, SDXL's second), what follows the first EOS becomes pad. The hidden states of
all chunks are joined along the token axis, every BOS and EOS kept (77 x n); the pooled vector is the first
chunk's. In a batch, shorter texts get empty chunks.

Chunks are made for a whole batch at once, so its cost follows its longest text: at 12.4M captions of one
to five chunks, always padding to 225 tokens would triple the text encoders' work for most batches
(`benchmarks/chunks.py`). Brackets stay literal: they are part of booru tags, and training has no use for
A1111's emphasis. So does "!", which the tokenizer that upstream loads for SD2 takes for padding.

`--token_chunks=upstream` leaves everything to the trainer, which cuts at 75 tokens, or where --max_token_length
says: what the recorded runs of the logbook did. What it loses is counted. At the end of a run the log says
how many texts were cut, how many tokens that lost, and how many chunks were used (`chunk_report.py`).
"""

import re

import torch

from extensions.base.errors import UserError
from extensions.hookspecs import hookimpl
from extensions.text.chunk_report import Counts
from extensions.text.encoding import encode_sd2, encode_sdxl

CHUNK = 75  # tokens between BOS and EOS
BACKTRACK = 20  # A1111's "comma_padding_backtrack"
COMMA = ",</w>"
BREAK = re.compile(r"\bBREAK\b")
RULES = ("a1111", "plain", "upstream")
NOT_WITH_ANY = ("weighted_captions", "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")


def ids_of(text: str, tokenizer) -> list[int]:
    """Token ids of a text without BOS, EOS or truncation; a pad token that is a word in the text stays that word."""
    options = {"add_special_tokens": False, "truncation": False, "split_special_tokens": True}
    return tokenizer(text, verbose=False, **options).input_ids


def text_parts(text: str, tokenizer) -> list[list[int]]:
    """`ids_of` each part between BREAKs."""
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
    """77 ids: BOS, the chunk, EOS up to the end; after the first EOS pad, where that is another token."""
    ids = [tokenizer.bos_token_id, *chunk, *[tokenizer.eos_token_id] * (CHUNK + 1 - len(chunk))]
    first = ids.index(tokenizer.eos_token_id) + 1
    return ids[:first] + [tokenizer.pad_token_id] * (len(ids) - first)


def kept(chunks: list[list[int]], limit: int) -> tuple[int, int, int]:
    """(chunks, tokens before the cut, tokens lost) of a text at --max_token_chunks, for the report."""
    lengths = [len(chunk) for chunk in chunks]
    used = min(len(chunks), limit or len(chunks))
    return used, sum(lengths), sum(lengths[used:])


class Plugin:
    """Tokenizes in chunks, encodes them, and counts what was cut."""

    claims = ("how a text becomes hidden states",)

    def __init__(self):
        self.rule, self.limit, self.length = "a1111", 0, CHUNK
        self.counts = Counts()  # shared with the data loader's workers, which are forked later
        self.process, self.processes = 0, 1

    @hookimpl
    def add_arguments(self, parser):
        group = parser.add_argument_group("token_chunks")
        group.add_argument(
            "--token_chunks",
            choices=RULES,
            default="a1111",
            help="a1111: comma-aware chunks of 75; plain: every 75 tokens; upstream: sd-scripts' own cut at "
            "--max_token_length (75, 150 or 225)",
        )
        group.add_argument(
            "--max_token_chunks",
            type=int,
            default=0,
            help="at most so many chunks of 75 tokens a text, the rest is cut and counted; 0: as many as needed",
        )

    @hookimpl
    def check_arguments(self, args):
        self.rule, self.limit = args.token_chunks, args.max_token_chunks
        self.length = args.max_token_length or CHUNK
        if self.limit < 0:
            raise UserError(f"--max_token_chunks={self.limit}: give 0 (no limit) or a positive number of chunks")
        if self.rule == "upstream" and self.limit:
            raise UserError("--max_token_chunks has no effect with --token_chunks=upstream; use --max_token_length")
        for flag in NOT_WITH_ANY if self.rule == "upstream" else ("max_token_length", *NOT_WITH_ANY):
            if getattr(args, flag, None):
                raise UserError(f"--{flag} and --token_chunks={self.rule} exclude each other; drop one of them")

    @hookimpl
    def training_begins(self, run):
        self.process, self.processes = run.accelerator.process_index, run.accelerator.num_processes

    @hookimpl
    def tokenize(self, texts, tokenizers):
        if self.rule == "upstream":
            self.counts.add([self.upstreams(text, tokenizers[0]) for text in texts])
            return None
        ids = [[self.chunks_of(text, tokenizer) for text in texts] for tokenizer in tokenizers]
        self.counts.add([kept(chunks, self.limit) for chunks in ids[0]])
        # One width for both encoders: their vocabularies are equal today, their states are concatenated.
        width = max(len(chunks) for each in ids for chunks in each)
        width = min(width, self.limit or width)
        return [self.batch(each, tokenizer, width) for each, tokenizer in zip(ids, tokenizers, strict=True)]

    def upstreams(self, text: str, tokenizer) -> tuple[int, int, int]:
        """What the trainer's own cut does to a text: (chunks that hold tokens, its tokens, tokens lost)."""
        tokens = len(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)
        left = min(tokens, self.length)
        return max(1, -(-left // CHUNK)), tokens, tokens - left

    def chunks_of(self, text: str, tokenizer) -> list[list[int]]:
        comma = tokenizer.convert_tokens_to_ids(COMMA) if self.rule == "a1111" else None
        return cut(text_parts(text, tokenizer), comma)

    def batch(self, texts: list[list[list[int]]], tokenizer, width: int) -> torch.Tensor:
        """int64 (b, width, 77); shorter texts get empty chunks."""
        rows = [[*chunks, *[[]] * (width - len(chunks))][:width] for chunks in texts]
        return torch.tensor([[wrap(chunk, tokenizer) for chunk in row] for row in rows])

    @hookimpl
    def encode_tokens(self, input_ids, tokenizers, text_encoders, projection, clip_skip):
        if self.rule == "upstream":
            return None
        ids = [fill_padding(each, tokenizer) for each, tokenizer in zip(input_ids, tokenizers, strict=True)]
        if projection is None:
            return [encode_sd2(ids[0], text_encoders[0], clip_skip)]
        return encode_sdxl(ids, text_encoders, projection, tokenizers[1].eos_token_id)

    @hookimpl
    def run_ended(self):
        for line in self.counts.lines(self.process, self.processes):
            print(f"token_chunks: {line}", flush=True)


def fill_padding(ids: torch.Tensor, tokenizer) -> torch.Tensor:
    """Turn all-zero rows into empty chunks.

    Upstream's own dataset tokenizes one text at a time and pads shorter ones with zero rows; a real
    chunk begins with BOS.
    """
    empty = torch.tensor(wrap([], tokenizer), device=ids.device, dtype=ids.dtype)
    return torch.where((ids[..., :1] == tokenizer.bos_token_id), ids, empty)
