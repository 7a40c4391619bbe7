"""How an optimizer is tried: on the fixed data of a package, and on a small network.

An export measures with these functions, and the tests of the package carry their text.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

# --- carried by exported packages from here on


def parameters(values: list[Any], dtype: torch.dtype, device: str = "cpu") -> list[torch.nn.Parameter]:
    """Parameters that hold nested lists of numbers."""
    return [torch.nn.Parameter(torch.tensor(v, dtype=dtype, device=device)) for v in values]


def step(optimizer: Optimizer, gradients: list[Any]) -> None:
    """One step with these gradients, one for each parameter in the order of the groups."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    for p, g in zip(params, gradients, strict=True):
        p.grad = torch.tensor(g, dtype=p.dtype, device=p.device)
    optimizer.step()


def observed(optimizer: Optimizer) -> dict[str, Tensor]:
    """All tensors that an optimizer changes but its step counts: ``w 0``, ``m 0``, ... and what parameters share."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    out = {f"w {i}": p.detach() for i, p in enumerate(params)}
    for i, p in enumerate(params):
        out |= {f"{name} {i}": value for name, value in optimizer.state.get(p, {}).items() if name != "step"}
    given = {"params", *optimizer.defaults}
    return out | {name: v for name, v in optimizer.param_groups[0].items() if name not in given}


def difference(found: dict[str, Tensor], expected: dict[str, Any]) -> float:
    """The largest difference of an entry, relative to the largest of its tensor; infinite where it is not finite."""
    assert found.keys() == expected.keys(), found.keys() ^ expected.keys()
    worst = 0.0
    for name, value in found.items():
        right = torch.tensor(expected[name], dtype=torch.float64)
        assert value.shape == right.shape, name
        off = (value.detach().double().cpu() - right).abs().max() / (float(right.abs().max()) or 1.0)
        worst = max(worst, float(off.nan_to_num(torch.inf)))
    return worst


def fit(optimizer_class: type[Optimizer], lr: float, steps: int) -> tuple[float, float]:
    """The loss of a network of 8 hidden units that fits a sine, before and after training in float64."""
    x = torch.linspace(-1, 1, 32, dtype=torch.float64).reshape(-1, 1)
    y = torch.sin(3 * x)
    start = [0.5 * torch.sin(torch.arange(n, dtype=torch.float64) + 1) for n in (8, 8, 8, 1)]
    shaped = (start[0].reshape(1, 8), start[1], start[2].reshape(8, 1), start[3])
    hidden, shift, out, offset = params = [torch.nn.Parameter(v) for v in shaped]
    optimizer = optimizer_class([{"params": params}], lr=lr)  # pyright: ignore[reportCallIssue]
    losses = []
    for _ in range(steps + 1):
        optimizer.zero_grad()
        loss = (torch.tanh(x @ hidden + shift) @ out + offset - y).square().mean()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    return losses[0], losses[-1]
