"""Hidden states of chunks against those of each chunk alone, by transformers' CLIP."""

import pytest
import torch

from tests.helpers.token_chunks_cases import BOS, EOS, loaded, plugin


@pytest.fixture(scope="module")
def tokenizers(standins):
    return loaded(standins)


@pytest.fixture(scope="module")
def encoders():
    """{family: small CLIP models of transformers}, the second of SDXL with a projection."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    sizes = {"hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 1, "num_hidden_layers": 3}
    config = CLIPTextConfig(**sizes, projection_dim=64, bos_token_id=BOS, eos_token_id=EOS)
    torch.manual_seed(0)
    first, second = CLIPTextModel(config).eval(), CLIPTextModelWithProjection(config).eval()
    return {"sdxl": [first, second], "sd2": [CLIPTextModel(config).eval()]}


BATCH = ["dog, " * 100, "cat", "", "cat BREAK BREAK dog", "a " * 80]


def each_chunk_alone(states_of, ids: torch.Tensor) -> torch.Tensor:
    """(b, 77 n, d): every chunk through the model in a call of its own, then side by side."""
    return torch.stack([torch.cat([states_of(chunk[None])[0] for chunk in text]) for text in ids])


def test_sdxls_states_are_those_of_each_chunk_alone(tokenizers, encoders):
    made, (first, second) = plugin(), encoders["sdxl"]
    ids = made.tokenize(texts=BATCH, tokenizers=tokenizers["sdxl"])
    with torch.no_grad():
        states1, states2, pooled = made.encode_tokens(
            input_ids=ids, tokenizers=tokenizers["sdxl"], text_encoders=[first, second],
            projection=second.text_projection, clip_skip=None,
        )  # fmt: skip
        for states, encoder, each in ((states1, first, ids[0]), (states2, second, ids[1])):
            assert states.shape == (5, 3 * 77, 64)
            alone = each_chunk_alone(lambda x, e=encoder: e(x, output_hidden_states=True).hidden_states[-2], each)
            torch.testing.assert_close(states, alone)
        # transformers pools by the EOS id that its configuration names.
        torch.testing.assert_close(pooled, second(ids[1][:, 0]).text_embeds)


@pytest.mark.parametrize("clip_skip", [None, 1, 2])
def test_sd2s_states_are_those_of_each_chunk_alone(clip_skip, tokenizers, encoders):
    made, (encoder,) = plugin(), encoders["sd2"]
    (ids,) = made.tokenize(texts=BATCH, tokenizers=tokenizers["sd2"])

    def states_of(chunk):
        found = encoder(chunk, output_hidden_states=True)
        if clip_skip is None:
            return found.last_hidden_state
        return encoder.text_model.final_layer_norm(found.hidden_states[-clip_skip])

    with torch.no_grad():
        (states,) = made.encode_tokens(
            input_ids=[ids], tokenizers=tokenizers["sd2"], text_encoders=[encoder],
            projection=None, clip_skip=clip_skip,
        )  # fmt: skip
        assert states.shape == (5, 3 * 77, 64)
        torch.testing.assert_close(states, each_chunk_alone(states_of, ids))


def test_gradients_reach_the_encoders_through_every_chunk(tokenizers, encoders):
    made, (encoder,) = plugin(), encoders["sd2"]
    (ids,) = made.tokenize(texts=["dog, " * 100], tokenizers=tokenizers["sd2"])
    (states,) = made.encode_tokens(
        input_ids=[ids], tokenizers=tokenizers["sd2"], text_encoders=[encoder], projection=None, clip_skip=None
    )
    weight = encoder.text_model.embeddings.position_embedding.weight
    (ours,) = torch.autograd.grad(states[:, 2 * 77 :].square().sum(), weight)
    (alone,) = torch.autograd.grad(encoder(ids[:, 2]).last_hidden_state.square().sum(), weight)
    torch.testing.assert_close(ours, alone)
    assert ours.abs().sum() > 0
