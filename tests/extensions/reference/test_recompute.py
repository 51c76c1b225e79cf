"""Checkpointing changes no gradient and keeps no activations: against the same models without it."""

import copy

import pytest
import torch

from extensions.reference import recompute


@pytest.fixture(params=["sdxl", "sd2"])
def models(request, loaded):
    """The stand-in's models, to be changed."""
    return copy.deepcopy(loaded[request.param].models)


def predicted(models):
    """The U-Net's answer (1, 4, 8, 8) to fixed noise, attending to the last text encoder's states."""
    generator = torch.Generator().manual_seed(1)
    unet = models.unet
    config = unet.config
    states = models.text_encoders[-1](torch.arange(77).unsqueeze(0), output_hidden_states=True).hidden_states[-2]
    states = states.repeat(1, 1, -(-config.cross_attention_dim // states.shape[-1]))
    condition = {"encoder_hidden_states": states[..., : config.cross_attention_dim]}
    if models.family == "sdxl":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        condition["added_cond_kwargs"] = {
            "text_embeds": torch.randn(1, pooled, generator=generator),
            "time_ids": torch.ones(1, 6),
        }
    return unet(torch.randn(1, 4, 8, 8, generator=generator), torch.tensor([500]), **condition).sample


def gradients(models) -> dict[str, torch.Tensor]:
    """Of every parameter that trains, after one backward pass."""
    predicted(models).square().mean().backward()
    found = {}
    for name, model in models.named().items():
        found |= {f"{name} {key}": p.grad for key, p in model.named_parameters() if p.grad is not None}
        model.zero_grad(set_to_none=True)
    return found


def ready(models, frozen: bool) -> None:
    models.unet.requires_grad_(not frozen)
    for encoder in models.text_encoders:
        encoder.train()


@pytest.mark.parametrize("frozen", [False, True], ids=["trained U-Net", "frozen U-Net"])
def test_gradients_are_those_without_it(models, frozen):
    ready(models, frozen)
    wanted = gradients(models)
    recompute.recompute(models.unet, models.text_encoders)
    found = gradients(models)
    assert found.keys() == wanted.keys() and len(wanted) > 10
    # Where paths join, autograd may add their gradients in another order. A key's bias has none but rounding.
    least = 1e-6 * max(gradient.norm() for gradient in wanted.values())
    for name, gradient in wanted.items():
        assert (found[name] - gradient).norm() <= 1e-5 * gradient.norm() + least, name


@pytest.mark.parametrize("frozen", [False, True], ids=["trained U-Net", "frozen U-Net"])
def test_blocks_keep_their_inputs_only(models, frozen):
    """Also where the U-Net is frozen and only passes gradients on, in whichever mode it stands."""
    ready(models, frozen)
    models.unet.eval()

    def saved() -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.nbytes) or t, lambda t: t):
            predicted(models)
        return sum(sizes)

    before = saved()
    recompute.recompute(models.unet, models.text_encoders)
    assert saved() < before / 2


def test_nothing_is_kept_where_no_gradient_is_asked_for(models):
    calls = []
    block = recompute.recomputed(lambda x, scale=1: calls.append(scale) or x * scale, {"use_reentrant": True})
    with torch.no_grad():
        assert block(torch.ones(1), scale=2) == 2
    assert calls == [2]
