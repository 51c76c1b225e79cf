"""AdamW4bit computes torchao's step without a compiler."""

import torch
from torchao.optim import adam

from extensions.optimizers.adamw4bit import AdamW4bit


def parameter():
    made = torch.nn.Parameter(torch.randn(64, 128, generator=torch.Generator().manual_seed(0)))
    made.grad = torch.randn(64, 128, generator=torch.Generator().manual_seed(1))
    return made


def test_the_step_is_torchaos_and_nothing_is_compiled(monkeypatch):
    """torchao's own arithmetic with the compile taken out by hand."""
    torch._dynamo.reset()
    ours = parameter()
    AdamW4bit([ours], lr=1e-3, weight_decay=1e-2).step()
    assert not torch._dynamo.utils.counters["frames"]
    theirs = parameter()
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    adam.AdamW4bit([theirs], lr=1e-3, weight_decay=1e-2).step()
    assert torch.equal(ours, theirs) and not torch.equal(ours, parameter())


def test_close_to_adamw():
    """The first step of Adam is the sign of the gradient, whatever the bits of its moments."""
    ours, plain = parameter(), parameter()
    AdamW4bit([ours], lr=1e-3).step()
    torch.optim.AdamW([plain], lr=1e-3).step()
    torch.testing.assert_close(ours, plain, rtol=0, atol=2e-6)


def test_compiling_is_possible_again_afterwards_and_the_closure_runs_once():
    calls = []
    optimizer = AdamW4bit([parameter()], lr=1e-3)
    assert optimizer.step(lambda: calls.append(torch.is_grad_enabled()) or 2.5) == 2.5 and calls == [True]
    graphs = []
    compiled = torch.compile(lambda x: x + 1, backend=lambda graph, _: graphs.append(graph) or graph.forward)
    assert compiled(torch.zeros(1)) == 1 and len(graphs) == 1
