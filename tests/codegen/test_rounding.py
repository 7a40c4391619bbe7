"""How new values of bfloat16 parameters are rounded: the mean is kept, or what rounding leaves is kept."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from interpreted import GPU, on_gpu

from evoptim.codegen import compile_rule
from evoptim.dsl import load, parse

SMALL = 2.0**-12  # a thirty-second of what bfloat16 has next to 1
PLAIN = parse("def plain(w, g, *, lr=1.0):\n    return w - lr * g")
TARGETS = ["torch", "cpp", "triton"]


@pytest.fixture(autouse=True)
def _quiet() -> Any:
    with np.errstate(all="ignore"):
        yield


def build(target: str, p: torch.nn.Parameter, rule: Any = PLAIN, **options: Any) -> torch.optim.Optimizer:
    made = compile_rule(rule, target=target)
    return (on_gpu(made) if target == "triton" else made)([p], **options)


def ones(target: str, *shape: int, dtype: torch.dtype = torch.bfloat16) -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(shape, dtype=dtype, device=GPU if target == "triton" else "cpu"))


def walk(target: str, rounding: str, steps: int = 64) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    """A parameter of ones after many steps too small for its type."""
    p = ones(target, 100, 40)
    optimizer = build(target, p, rounding=rounding)
    p.grad = torch.full_like(p, SMALL)
    for _ in range(steps):
        optimizer.step()
    return p, optimizer


@pytest.mark.parametrize("target", TARGETS)
def test_small_steps_are_lost_to_the_nearest(target: str) -> None:
    p, optimizer = walk(target, "nearest")
    assert (p == 1).all()
    assert optimizer.state[p].keys() == {"step"}


@pytest.mark.parametrize("target", TARGETS)
def test_random_rounding_keeps_the_mean(target: str) -> None:
    """64 steps of 2**-12: a random walk of 4,000 elements in units of 2**-8 with a mean of 1 - 2**-6."""
    p, _ = walk(target, "stochastic")
    off = p.detach().double().mean().item() - (1 - 64 * SMALL)
    assert abs(off) < 5 * 2**-8 * np.sqrt(64 / 16 / p.numel())
    assert p.unique().numel() > 3


@pytest.mark.parametrize("target", TARGETS)
def test_the_rest_is_kept(target: str) -> None:
    p, optimizer = walk(target, "kahan")
    exact = 1 - 64 * SMALL
    assert (p.detach().double() == torch.tensor(exact).bfloat16().double()).all()
    together = p.detach().double() + optimizer.state[p]["_rest"].double()
    assert (together - exact).abs().max() < 2**-15
    assert optimizer.state[p]["_rest"].dtype == torch.bfloat16


@pytest.mark.parametrize("rounding", ["stochastic", "kahan"])
@pytest.mark.parametrize("rule", ["lion", "adamw", "adafactor"])
def test_kernels_round_as_torch_does(rule: str, rounding: str) -> None:
    runs = []
    for target in ("torch", "triton"):
        p = torch.nn.Parameter(torch.randn(70, 200, generator=torch.Generator().manual_seed(0)).bfloat16().to(GPU))
        optimizer = build(target, p, load(rule), rounding=rounding)
        for seed in range(4):
            p.grad = torch.randn(p.shape, generator=torch.Generator().manual_seed(seed)).bfloat16().to(GPU)
            optimizer.step()
        runs.append(p.detach())
    equal = (runs[0] == runs[1]).float().mean()
    assert equal > 0.99  # sums come together in another order
    torch.testing.assert_close(*runs, rtol=0.02, atol=1e-3)


@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "kahan"])
def test_a_rule_may_call_its_buffers_rest_and_seed(rounding: str) -> None:
    text = "def r(w, g, rest, seed, *, lr=0.1):\n    rest = ema(rest, g, 0.9)\n    seed = seed + g\n"
    rule = parse(text + "    return w - lr * (rest + seed), rest, seed")
    runs = []
    for target in ("torch", "triton"):
        p = ones(target, 30)
        optimizer = build(target, p, rule, rounding=rounding)
        p.grad = torch.full_like(p, 0.3)
        for _ in range(3):
            optimizer.step()
        runs.append([p.detach(), optimizer.state[p]["rest"], optimizer.state[p]["seed"]])
    for expected, found in zip(*runs, strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("rounding", ["stochastic", "kahan"])
@pytest.mark.parametrize("target", TARGETS)
def test_a_saved_run_goes_on_the_same(target: str, rounding: str) -> None:
    whole, _ = walk(target, rounding, 20)
    p, optimizer = walk(target, rounding, 9)
    resumed = build(target, p, rounding=rounding)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for _ in range(11):
        resumed.step()
    assert torch.equal(whole, p)


@pytest.mark.parametrize("rounding", ["stochastic", "kahan"])
@pytest.mark.parametrize("target", TARGETS)
def test_what_is_not_finite_stays_so(target: str, rounding: str) -> None:
    p = ones(target, 4)
    optimizer = build(target, p, rounding=rounding)
    for _ in range(3):
        p.grad = torch.tensor([float("inf"), -float("inf"), float("nan"), 0.0], dtype=p.dtype, device=p.device)
        optimizer.step()
    assert p[:2].tolist() == [-float("inf"), float("inf")] or p[:2].isnan().all()
    assert p[2].isnan()
    assert p[3] == 1


@pytest.mark.parametrize("rounding", ["stochastic", "kahan"])
@pytest.mark.parametrize("target", TARGETS)
def test_other_types_are_rounded_as_always(target: str, rounding: str) -> None:
    runs = []
    for way in ("nearest", rounding):
        p = ones(target, 30, dtype=torch.float32)
        optimizer = build(target, p, rounding=way)
        p.grad = torch.full_like(p, SMALL)
        for _ in range(3):
            optimizer.step()
        assert optimizer.state[p].keys() == {"step"}
        runs.append(p.detach())
    assert torch.equal(*runs)


def test_capturable_steps_round_without_reading_on_the_host() -> None:
    for rounding in ("stochastic", "kahan"):
        p = torch.nn.Parameter(torch.empty(3, 4, device="meta", dtype=torch.bfloat16))
        optimizer = compile_rule(PLAIN)([p], capturable=True, rounding=rounding)
        p.grad = torch.empty_like(p)
        for _ in range(2):
            optimizer.step()


def test_an_unknown_rounding_is_refused() -> None:
    with pytest.raises(ValueError, match="Invalid rounding: 'up', expected nearest, stochastic or kahan"):
        compile_rule(PLAIN)([ones("torch", 3)], rounding="up")
