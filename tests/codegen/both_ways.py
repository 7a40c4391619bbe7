"""One rule run twice, by the generated optimizer and by the reference, and what may lie between the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from interpreted import GPU, on_gpu
from rounding import EPS, SAMPLES, Array, Noisy, compare

from evoptim.codegen import compile_rule
from evoptim.dsl import Hyper, Kind, Reference, Rule

SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (4, 5), (2, 3, 4))


def draw(shapes: Sequence[tuple[int, ...]], steps: int, seed: int = 0) -> tuple[list[Array], list[list[Array]]]:
    """Parameters, and gradients per step; representable in float32."""
    random = np.random.default_rng(seed)
    tensors = [[_float32(random.standard_normal(s)) for s in shapes] for _ in range(steps + 1)]
    return tensors[0], tensors[1:]


def _float32(x: Any) -> Array:
    return np.asarray(x, dtype=np.float32).astype(np.float64)


def with_lr(rule: Rule) -> Rule:
    """The rule with a learning rate, which every optimizer has."""
    if "lr" in rule.defaults:
        return rule
    return rule.replace(hypers=(Hyper("lr", 0.1), *rule.hypers))


def train(
    rule: Rule,
    params: Sequence[Array],
    grads: Sequence[Sequence[Array]],
    dtype: torch.dtype = torch.float64,
    target: str = "torch",
    **options: Any,
) -> tuple[torch.optim.Optimizer, list[torch.nn.Parameter]]:
    """The generated optimizer after these gradients, and its parameters."""
    device = GPU if target == "triton" else "cpu"
    tensors = [torch.nn.Parameter(torch.tensor(p, dtype=dtype, device=device)) for p in params]
    made = compile_rule(rule, target=target)
    optimizer = (on_gpu(made) if target == "triton" else made)(tensors, **options)
    for step in grads:
        for tensor, g in zip(tensors, step, strict=True):
            tensor.grad = torch.tensor(g, dtype=dtype, device=device)
        with np.errstate(all="ignore"):  # Triton's interpreter computes with numpy
            optimizer.step()
    return optimizer, tensors


def values(rule: Rule, run: Reference) -> dict[str, Array]:
    """Parameters and the buffers that exist, under names such as ``w[0]`` and ``m[2]``."""
    out = {f"w[{i}]": p for i, p in enumerate(run.params)}
    for buffer in rule.buffers:
        for i, value in enumerate(run.state[buffer.name]):
            out["group " + buffer.name if buffer.kind == Kind.GLOBAL else f"{buffer.name}[{i}]"] = value
    return out


def tensor_values(
    optimizer: torch.optim.Optimizer, params: Sequence[torch.nn.Parameter], rule: Rule
) -> dict[str, Array]:
    """The same of the generated optimizer, less the buffers that it does not need."""
    out = {f"w[{i}]": p.detach() for i, p in enumerate(params)}
    for i, p in enumerate(params):
        out |= {f"{name}[{i}]": v for name, v in optimizer.state[p].items() if name != "step"}
    shared = [b.name for b in rule.buffers if b.kind == Kind.GLOBAL]
    out |= {f"group {name}": optimizer.param_groups[0][name] for name in shared if name in optimizer.param_groups[0]}
    return {k: v.double().cpu().numpy() for k, v in out.items()}


def agree(
    rule: Rule,
    dtype: torch.dtype = torch.float64,
    shapes: Sequence[tuple[int, ...]] = SHAPES,
    steps: int = 3,
    data: tuple[list[Array], list[list[Array]]] | None = None,
    target: str = "torch",
    capturable: bool = False,
    **hypers: float,
) -> torch.optim.Optimizer:
    """Assert that the generated optimizer does what the reference does, within rounding; returns the optimizer."""
    params, grads = data or draw(shapes, steps)
    exact = Reference(rule, params, **hypers)
    noisy = [Noisy(rule, params, 4 * EPS[dtype], seed, **hypers) for seed in range(SAMPLES)]
    for run in (exact, *noisy):
        for step in grads:
            run.step(step)
    optimizer, tensors = train(rule, params, grads, dtype, target, capturable=capturable, **hypers)
    found, expected = tensor_values(optimizer, tensors, rule), values(rule, exact)
    spread = [values(rule, n) for n in noisy]
    assert {k for k in expected if k.startswith("w[")} <= found.keys() <= expected.keys()
    for key, value in found.items():
        compare(key, value, expected[key], [s[key] for s in spread], dtype)
    return optimizer
