"""Encodes token ids (b, n chunks, 77) as hidden states, whatever n is; with n = 1 exactly upstream's.

SDXL takes both encoders' penultimate states and the pooled vector of the first chunk (the last state at
its first EOS, projected); SD2 takes the last state of its 23 layers. Used by the plugin token_chunks
under either trainer, and by the reference trainer for texts of one chunk.
"""

from functools import lru_cache

import torch

from extensions.text.chunks import wrap


def encode_sdxl(ids: list[torch.Tensor], text_encoders: list, projection, eos: int) -> list[torch.Tensor]:
    """Encode as [(b, 77 n, d1), (b, 77 n, d2), pooled (b, d2)]: penultimate states of both, first chunk's pooled."""
    states, outputs = [], None
    for each, encoder in zip(ids, text_encoders, strict=True):
        outputs = encoder(flat(each, encoder), output_hidden_states=True, return_dict=True)
        states.append(join(outputs["hidden_states"][-2], each))
    first_eos = (ids[1][:, 0] == eos).int().argmax(dim=1).to(states[1].device)
    last = outputs["last_hidden_state"].unflatten(0, ids[1].shape[:2])[:, 0]
    pooled = last[torch.arange(len(last), device=last.device), first_eos]
    return [*states, projection(pooled.to(projection.weight.dtype)).to(last.dtype)]


def encode_sd2(ids: torch.Tensor, encoder, clip_skip: int | None) -> torch.Tensor:
    """Return (b, 77 n, d): the last hidden state, or the one --clip_skip asks for, through the final layer norm."""
    outputs = encoder(flat(ids, encoder), output_hidden_states=True, return_dict=True)
    if clip_skip is None:
        return join(outputs["last_hidden_state"], ids)
    bare = getattr(encoder, "module", encoder)
    return join(bare.text_model.final_layer_norm(outputs["hidden_states"][-clip_skip]), ids)


def flat(ids: torch.Tensor, encoder) -> torch.Tensor:
    """Return (b, n, 77) -> (b n, 77) on the encoder's device."""
    return ids.flatten(0, 1).to(next(encoder.parameters()).device)


def join(states: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """Return (b n, 77, d) -> (b, 77 n, d)."""
    return states.reshape(ids.shape[0], -1, states.shape[-1])


def fill_padding(ids: torch.Tensor, tokenizer) -> torch.Tensor:
    """Turn all-zero rows into empty chunks.

    Upstream's own dataset tokenizes one text at a time and pads shorter ones with zero rows; a real
    chunk begins with BOS.
    """
    return torch.where((ids[..., :1] == tokenizer.bos_token_id), ids, _empty_chunk(tokenizer, ids.device, ids.dtype))


@lru_cache(maxsize=8)
def _empty_chunk(tokenizer, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
    """Return (77,), made once: each making on a GPU waits for it, at every micro-step."""
    return torch.tensor(wrap([], tokenizer), device=device, dtype=dtype)
