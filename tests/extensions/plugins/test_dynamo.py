"""The same losses, gradients and names with compiled models; nothing compiled is an error."""

import argparse
import types

import pytest
import torch

from extensions.base.errors import UserError
from extensions.model.models import Models
from extensions.plugins import dynamo


class BasicTransformerBlock(torch.nn.Module):
    """Named like the U-Nets' repeated block."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(8, 8)

    def forward(self, states):
        return torch.nn.functional.silu(self.linear(states)) + states


class CLIPEncoderLayer(BasicTransformerBlock):
    """Named like the text encoders'."""


class Stack(torch.nn.Sequential):
    """Has a forward of its own: torch 2.11 compiles none of its own containers' as one."""

    def forward(self, states):
        for block in self:
            states = block(states)
        return states


def stack(block, count: int) -> torch.nn.Module:
    return Stack(*(block() for _ in range(count)))


@pytest.fixture
def models():
    torch.manual_seed(0)
    return Models("sdxl", stack(BasicTransformerBlock, 3), [stack(CLIPEncoderLayer, 2), stack(CLIPEncoderLayer, 2)])


@pytest.fixture(autouse=True)
def fresh_dynamo():
    """Counters and compiled code are the process's."""
    limit = torch._dynamo.config.recompile_limit
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.config.recompile_limit = limit
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


RUN = types.SimpleNamespace(accelerator=types.SimpleNamespace(print=lambda *_: None))


def plugin(scope="model", backend="aot_eager", **more):
    made = dynamo.Plugin()
    made.check_arguments(arguments := flags(scope, backend, **more))
    assert arguments.torch_compile is False
    return made


def flags(scope="model", backend="aot_eager", torch_compile=True):
    return argparse.Namespace(torch_compile=torch_compile, dynamo_backend=backend, compile_scope=scope)


def gradients(models, rows: int) -> dict[str, torch.Tensor]:
    data = torch.linspace(-1, 1, rows * 8).reshape(rows, 8)
    sum(model(data).square().mean() for model in models.named().values()).backward()
    found = {}
    for name, model in models.named().items():
        found |= {f"{name}.{key}": p.grad.clone() for key, p in model.named_parameters()}
        model.zero_grad()
    return found


@pytest.mark.parametrize("scope", dynamo.SCOPES)
def test_gradients_and_names_stay(models, scope):
    wanted = {rows: gradients(models, rows) for rows in (2, 3, 5, 7)}
    keys = [list(model.state_dict()) for model in models.named().values()]
    made = plugin(scope)
    made.models_loaded(models)
    made.training_begins(RUN)
    for rows, expected in wanted.items():
        found = gradients(models, rows)
        assert found.keys() == expected.keys()
        assert all(torch.allclose(found[name], gradient, atol=1e-6) for name, gradient in expected.items())
    assert [list(model.state_dict()) for model in models.named().values()] == keys
    made.optimizer_step_ended(RUN)
    # One graph for the first size, one with sizes as variables for the three others: of each model, or of each of
    # two kinds of block, whose first has an input without a gradient.
    kinds = {"model": 3, "blocks": 4}[scope]
    assert dynamo.graphs() <= 2 * kinds, torch._dynamo.utils.counters


def test_nothing_compiled_is_an_error(models):
    made = plugin()
    made.models_loaded(models)
    made.training_begins(RUN)
    with pytest.raises(UserError, match="compiled nothing"):
        made.optimizer_step_ended(RUN)


def test_a_model_without_blocks_is_named(models):
    models.text_encoders[1] = torch.nn.Linear(1, 1)
    made = plugin("blocks")
    made.models_loaded(models)
    with pytest.raises(UserError, match="text encoder 2 has none"):
        made.training_begins(RUN)


def test_flags_that_do_not_fit():
    with pytest.raises(UserError, match="without --torch_compile"):
        dynamo.Plugin().check_arguments(flags(torch_compile=False))
    with pytest.raises(UserError, match="no_such is not installed"):
        dynamo.Plugin().check_arguments(flags(backend="no_such"))


def test_the_end_says_what_was_compiled(models, capsys):
    made = plugin()
    made.models_loaded(models)
    made.training_begins(RUN)
    gradients(models, 2)
    made.run_ended(None)
    assert "graphs compiled" in capsys.readouterr().out


@pytest.mark.parametrize("family", ["sdxl", "sd2"])
def test_both_trainers_models_have_the_blocks(family, standins):
    """Upstream's classes have the same names; the end-to-end tests run them."""
    from extensions.reference import models as reference

    loaded = reference.load(str(standins[family]), family, torch.float32).models
    assert len(dynamo.compiled_modules(loaded, "blocks")) > len(dynamo.compiled_modules(loaded, "model"))
