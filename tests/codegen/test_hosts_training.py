"""Ways of training that use an optimizer in unusual ways: inside backward, with freezing, compiled, on huge tensors."""

from __future__ import annotations

import pytest
import torch
from hosting import (
    EVERY,
    RULES,
    give_gradients,
    make,
    parameters,
    parameters_of,
    small_model,
    snapshot,
    steps,
)
from torch import Tensor, nn
from torch.optim import Optimizer

from evoptim.codegen import compile_rule
from evoptim.dsl import Reduce, parse, reduces

ALONE = [name for name, rule in RULES.items() if Reduce.GLOBAL not in reduces(rule)]


def batch(seed: int) -> Tensor:
    return torch.randn(5, 6, generator=torch.Generator().manual_seed(seed))


def train(model: nn.Module, optimizer: Optimizer, count: int, first: int = 0) -> None:
    for seed in range(first, first + count):
        optimizer.zero_grad()
        model(batch(seed)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize("name", ALONE)
def test_a_step_inside_backward(name: str) -> None:
    """One optimizer per parameter steps as soon as its gradient is there, and the gradient is freed at once."""
    ordinary, model = small_model(), small_model()
    train(ordinary, make(name, ordinary.parameters()), 3)
    optimizers = {p: make(name, [p]) for p in model.parameters()}

    def step(p: Tensor) -> None:
        optimizers[p].step()
        optimizers[p].zero_grad()

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(step)
    for seed in range(3):
        model(batch(seed)).square().mean().backward()
        assert all(p.grad is None for p in model.parameters())
    for p, q in zip(model.parameters(), ordinary.parameters(), strict=True):
        assert torch.equal(p, q)


@EVERY
def test_a_layer_frozen_for_some_steps(name: str) -> None:
    """It keeps its values, its state and its step count, and goes on from there."""
    model = small_model()
    optimizer = make(name, model.parameters())
    frozen = [*model[0].parameters()]
    train(model, optimizer, 2)
    kept = [p.detach().clone() for p in frozen] + [v.clone() for p in frozen for v in optimizer.state[p].values()]
    model[0].requires_grad_(False)
    train(model, optimizer, 2, first=2)
    now = [*frozen, *(v for p in frozen for v in optimizer.state[p].values())]
    assert all(torch.equal(a, b) for a, b in zip(kept, now, strict=True))
    model[0].requires_grad_(True)
    train(model, optimizer, 1, first=4)
    assert [int(optimizer.state[p]["step"]) for p in model.parameters()] == [3, 3, 5, 5]
    assert all(not torch.equal(a, b) for a, b in zip(kept, frozen, strict=False))


@pytest.mark.parametrize("name", ALONE)
def test_a_late_first_gradient_is_a_first_step(name: str) -> None:
    """A parameter that first has a gradient at step 3 goes as one whose optimizer began there."""
    early, late = parameters()
    again = nn.Parameter(late.detach().clone())
    optimizer, expected = make(name, [early, late]), make(name, [again])
    for seed in range(5):
        generator = torch.Generator().manual_seed(seed)
        early.grad = torch.randn(early.shape, generator=generator)
        if seed >= 2:
            late.grad = torch.randn(late.shape, generator=generator)
            again.grad = late.grad.clone()
            expected.step()
        optimizer.step()
    assert torch.equal(late, again)
    assert int(optimizer.state[late]["step"]) == 3


@EVERY
def test_channels_last(name: str) -> None:
    """A convolutional model is trained in either order of memory, and keeps its own."""
    models = []
    for memory_format in (torch.contiguous_format, torch.channels_last):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.Flatten(), nn.Linear(16, 2)).to(memory_format=memory_format)
        optimizer = make(name, model.parameters(), lr=0.01)
        for seed in range(3):
            x = torch.randn(3, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
            optimizer.zero_grad()
            model(x.to(memory_format=memory_format)).square().mean().backward()
            optimizer.step()
        assert model[0].weight.is_contiguous(memory_format=memory_format)
        models.append(model)
    for p, q in zip(*(m.parameters() for m in models), strict=True):
        torch.testing.assert_close(p.detach(), q.detach(), rtol=1e-4, atol=1e-5)


@EVERY
@pytest.mark.parametrize("shape", [(2**31 + 8,), (2**16 + 1, 2**15)])
def test_tensors_of_more_than_2_to_the_31_elements(name: str, shape: tuple[int, ...]) -> None:
    """Sizes pass through the step without being counted in 32 bits; nothing is allocated on the meta device."""
    p = nn.Parameter(torch.empty(shape, dtype=torch.bfloat16, device="meta"))
    optimizer = make(name, [p])
    for _ in range(2):
        p.grad = torch.empty_like(p)
        optimizer.step()
    assert p.numel() > 2**31
    assert int(optimizer.state[p]["step"]) == 2
    assert {v.numel() for k, v in optimizer.state[p].items() if v.dim() == p.dim()} <= {*shape, p.numel()}


@pytest.mark.parametrize("name", ["lion", "adamw", "adafactor", "prodigy"])  # tracing takes seconds
def test_torch_compile_around_the_step(name: str) -> None:
    """Traced, with breaks where a rule needs numbers, and like the plain step: some is torch's, some the kernels'."""
    torch._dynamo.reset()
    plain, compiled = (make(name, parameters(((4, 5),)), lr=0.01) for _ in range(2))
    step = torch.compile(compiled.step, backend="eager")
    for seed in range(3):
        for optimizer, call in ((plain, plain.step), (compiled, step)):
            give_gradients(parameters_of(optimizer), seed)
            call()
    found, expected = snapshot(compiled), snapshot(plain)
    assert found.keys() == expected.keys()
    for key, value in found.items():
        torch.testing.assert_close(value, expected[key], rtol=1e-6, atol=1e-7, msg=key)


def test_later_groups_share_what_all_parameters_share() -> None:
    """A value over all parameters is one value, though each group keeps it."""
    rule = parse("""
def counted(w, g, q: global_, *, lr=0.1):
    q = q + global_sum(square(g))
    return w - lr * g / (1 + q), q
""")
    first, second = parameters()
    optimizer = compile_rule(rule)([first])
    steps(optimizer, 2)
    optimizer.add_param_group({"params": [second]})
    for seed in (3, 4):
        steps(optimizer, 1, first=seed)
        values = [group["q"] for group in optimizer.param_groups]
        assert torch.equal(*values)
    assert len(parameters_of(optimizer)) == 2
