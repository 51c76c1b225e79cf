"""Upstream's padding is filled, states are joined in the order of the text, wrapped encoders give the bare one's."""

import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModel

from extensions.text import encoding
from extensions.text.chunks import wrap
from tests.helpers.token_chunks_cases import BOS, EOS, loaded, row


@pytest.fixture(scope="module")
def tokenizers(standins):
    return loaded(standins)


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 1, "num_hidden_layers": 2}
    return CLIPTextModel(CLIPTextConfig(**sizes, bos_token_id=BOS, eos_token_id=EOS)).eval()


def test_zero_rows_of_upstreams_padding_become_empty_chunks(tokenizers):
    for tokenizer, pad in ((tokenizers["sdxl"][0], EOS), (tokenizers["sdxl"][1], 0), (tokenizers["sd2"][0], 0)):
        ids = torch.zeros(1, 2, 77, dtype=torch.long)
        ids[0, 0] = torch.tensor(wrap([320], tokenizer))
        filled = encoding.fill_padding(ids, tokenizer)
        assert filled[0, 1].tolist() == row([], pad)
        assert torch.equal(filled[0, 0], ids[0, 0])


def test_chunks_lie_behind_each_other_in_the_order_of_the_text():
    ids = torch.arange(2 * 3 * 77).reshape(2, 3, 77)
    states = ids.flatten(0, 1)[..., None].float()  # as if a state were its token
    assert encoding.join(states, ids).tolist() == [[[token] for token in text.flatten().tolist()] for text in ids]


class Wrapped(torch.nn.Module):
    """As DDP wraps a model."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, *arguments, **keywords):
        return self.module(*arguments, **keywords)


@pytest.mark.parametrize("clip_skip", [None, 1, 2])
def test_a_wrapped_encoder_gives_the_bare_one_s_states(clip_skip, encoder):
    ids = torch.tensor([[row([320, 321], 0), row([], 0)]])
    with torch.no_grad():
        bare, wrapped = (encoding.encode_sd2(ids, each, clip_skip) for each in (encoder, Wrapped(encoder)))
    assert bare.shape == (1, 2 * 77, 64) and torch.equal(bare, wrapped)
