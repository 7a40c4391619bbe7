"""One rule run twice, by the generated optimizer and by the reference, and what may lie between the results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from interpreted import GPU, on_gpu
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from evoptim.codegen import compile_rule
from evoptim.dsl import Hyper, Kind, Node, Reference, Rule

Array = NDArray[np.float64]
SHAPES: tuple[tuple[int, ...], ...] = ((), (3,), (4, 5), (2, 3, 4))
EPS = {torch.float64: 2.0**-53, torch.float32: 2.0**-24}
CHAOS = 0.01
FLOOR = {torch.float64: 1e-150, torch.float32: 1e-18}
"""Roots of what underflows."""
SAMPLES = 4
MARGIN = 64.0
"""How much farther than a few samples of random rounding the result may lie."""


class Noisy(Reference):
    """The reference with the result of every operation off by a random relative error: it shows the conditioning."""

    def __init__(self, rule: Rule, params: Sequence[Array], eps: float, seed: int, **hypers: float) -> None:
        super().__init__(rule, params, **hypers)
        self.eps, self.random = eps, np.random.default_rng(seed)

    def evaluate(self, node: Node, env: Any, chosen: Sequence[int]) -> list[Array]:
        values = super().evaluate(node, env, chosen)
        if not node.args:
            return values
        return [v if v.dtype == bool else v * (1 + self.random.uniform(-1, 1, v.shape) * self.eps) for v in values]


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
        _compare(key, value, expected[key], [s[key] for s in spread], dtype)
    return optimizer


def _compare(key: str, found: Array, expected: Array, noisy: list[Array], dtype: torch.dtype) -> None:
    assert found.shape == expected.shape, key
    finite = np.isfinite(expected)
    stable = np.all([np.isfinite(n) == finite for n in noisy], axis=0)  # else rounding decides whether it is finite
    assert_array_equal(found[stable & ~finite], expected[stable & ~finite], err_msg=f"{key}: NaN and infinities")
    found, expected, *noisy = (x[stable & finite] for x in (found, expected, *noisy))
    assert np.isfinite(found).all(), f"{key}: not finite"
    spread = np.max([np.abs(n - expected) for n in noisy], axis=0)
    known = spread <= CHAOS * np.abs(expected) + FLOOR[dtype]  # else rounding decides the number
    allowed = MARGIN * (spread + EPS[dtype] * np.abs(expected)) + FLOOR[dtype]
    difference = np.abs(found - expected)
    assert (difference <= allowed)[known].all(), f"{key}: off by {difference[known]}, {allowed[known]} allowed"
