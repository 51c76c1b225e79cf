"""Encodes prompts of any length, cut into chunks of 75 tokens the way AUTOMATIC1111's web UI cuts them.

The rule is in extensions/text/chunks.py. The hidden states of all chunks are joined along the token axis, every BOS
and EOS kept (77 x n); the pooled vector is the first chunk's. In a batch, shorter texts get empty chunks.

Chunks are made for a whole batch at once, so its cost follows its longest text: at 12.4M captions of one
to five chunks, always padding to 225 tokens would triple the text encoders' work for most batches
(`benchmarks/chunks.py`). Brackets stay literal: they are part of booru tags, and training has no use for
A1111's emphasis. So does "!", which the tokenizer that upstream loads for SD2 takes for padding, and `<|endoftext|>`.

`--token_chunks=upstream` leaves everything to the trainer, which cuts at 75 tokens, or where --max_token_length
says: what the recorded runs of the logbook did. What it loses is counted. At the end of a run the log says
how many texts were cut, how many tokens that lost, and how many chunks were used (`chunk_report.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from extensions.base.errors import UserError
from extensions.flags import settings, values
from extensions.flags.declared import Flag
from extensions.hookspecs import hookimpl
from extensions.text.chunk_report import Counts
from extensions.text.chunks import CHUNK, COMMA, cut, kept, text_parts, wrap

if TYPE_CHECKING:
    import torch

NOT_WITH_ANY = ("weighted_captions", "cache_text_encoder_outputs", "cache_text_encoder_outputs_to_disk")


class Plugin:
    """Tokenizes in chunks, encodes them, and counts what was cut."""

    claims = ("how a text becomes hidden states",)
    flags = (
        Flag(
            "token_chunks",
            str,
            "a1111: comma-aware chunks of 75; plain: every 75 tokens; upstream: sd-scripts' own cut at "
            "--max_token_length (75, 150 or 225)",
            default=settings.A1111,
            choices=settings.TOKEN_RULES,
        ),
        Flag(
            "max_token_chunks",
            values.whole(0),
            "at most so many chunks of 75 tokens a text, the rest is cut and counted; 0: as many as needed",
            default=0,
            unit="chunks",
        ),
    )

    def __init__(self):
        self.rule, self.limit, self.length = "a1111", 0, CHUNK
        self.counts = Counts()  # shared with the data loader's workers, which are forked later
        self.process, self.processes = 0, 1

    @hookimpl
    def check_arguments(self, args):
        self.rule, self.limit = args.token_chunks, args.max_token_chunks
        self.length = args.max_token_length or CHUNK
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
        """Return what the trainer's own cut does to a text: (chunks that hold tokens, its tokens, tokens lost)."""
        tokens = len(tokenizer(text, add_special_tokens=False, truncation=False, verbose=False).input_ids)
        left = min(tokens, self.length)
        return max(1, -(-left // CHUNK)), tokens, tokens - left

    def chunks_of(self, text: str, tokenizer) -> list[list[int]]:
        comma = tokenizer.convert_tokens_to_ids(COMMA) if self.rule == "a1111" else None
        return cut(text_parts(text, tokenizer), comma)

    def batch(self, texts: list[list[list[int]]], tokenizer, width: int) -> torch.Tensor:
        """int64 (b, width, 77); shorter texts get empty chunks."""
        import torch

        rows = [[*chunks, *[[]] * (width - len(chunks))][:width] for chunks in texts]
        return torch.tensor([[wrap(chunk, tokenizer) for chunk in row] for row in rows])

    @hookimpl
    def encode_tokens(self, input_ids, tokenizers, text_encoders, projection, clip_skip):
        if self.rule == "upstream":
            return None
        from extensions.text.encoding import encode_sd2, encode_sdxl, fill_padding

        ids = [fill_padding(each, tokenizer) for each, tokenizer in zip(input_ids, tokenizers, strict=True)]
        if projection is None:
            return [encode_sd2(ids[0], text_encoders[0], clip_skip)]
        return encode_sdxl(ids, text_encoders, projection, tokenizers[1].eos_token_id)

    @hookimpl
    def run_ended(self):
        for line in self.counts.lines(self.process, self.processes):
            print(f"token_chunks: {line}", flush=True)
