"""What an optimizer must come to on fixed data: the float64 reference's numbers, and how far rounding may lead away."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from evoptim.dsl import Hyper, Kind, Node, Reference, Rule, UserError, live_statements
from evoptim.dsl.infer import buffers_read

from ..signature import arguments
from .trial import difference

Array: TypeAlias = NDArray[np.float64]

SHAPES = ((), (3,), (2, 3), (2, 1, 3, 2))
STEPS = 6
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
_SAMPLES = 8
_ROUNDINGS = 4
"""How many roundings one operation may count for: functions are not correctly rounded everywhere."""
_MARGIN = 4
"""How much farther than a few samples of random rounding the result may lie."""
_CHAOS = 0.1
"""Above this tolerance rounding decides the result, and comparing says nothing."""


def golden(rule: Rule) -> dict[str, Any]:
    """Fixed data and what the reference makes of them, ready for JSON.

    ``settings`` holds, for the default hyperparameters and for others, the values after the last step under the names
    of `trial.observed`, and the tolerance of every dtype that can be compared.

    Raises:
        UserError: With the default hyperparameters the values do not stay finite, or rounding decides them.
    """
    params, grads = _data()
    others = {h.name: other_value(h) for h in rule.hypers}
    settings = [_setting(rule, params, grads, hypers) for hypers in (rule.defaults, others)]
    if not settings[0]:
        raise UserError(
            f"rule {rule.name!r} cannot be verified: {STEPS} ordinary steps with its defaults lead to values that are "
            "not finite, or that rounding decides",
            "guard its divisions, roots and logarithms, as in safe_div(x, y), or choose other defaults",
        )
    return {
        "parameters": [p.tolist() for p in params],
        "gradients": [[g.tolist() for g in step] for step in grads],
        "settings": [s for s in settings if s],
    }


def other_value(hyper: Hyper) -> float:
    """A value other than the default, in its domain; a learning rate that bfloat16 parameters feel too."""
    if hyper.name == "lr":
        return 0.1 if hyper.default < 0.1 else hyper.default / 2
    values = hyper.domain.values
    low, high = min(values), max(values)
    match hyper.domain.scale:
        case "log":
            near = hyper.default if low < hyper.default < high else low
            return math.sqrt(near * high)
        case "one_minus_log":
            near = hyper.default if low < hyper.default < high else high
            return 1 - math.sqrt((1 - near) * (1 - low))
        case "choice":
            return next((v for v in values if v != hyper.default), hyper.default)
        case _:
            near = hyper.default if low < hyper.default < high else low
            return (near + high) / 2


def _data() -> tuple[list[Array], list[list[Array]]]:
    """Parameters, and gradients per step: no entry is zero, and all are exact in every dtype of `DTYPES`."""
    random = np.random.Generator(np.random.PCG64(0))
    tensors = [[(2 * random.integers(-64, 64, s) + 1) / 64 for s in SHAPES] for _ in range(STEPS + 1)]
    return tensors[0], tensors[1:]


def _setting(rule: Rule, params: list[Array], grads: list[list[Array]], hypers: dict[str, float]) -> dict[str, Any]:
    """One entry of ``settings``; empty if nothing can be compared."""
    exact = _after(Reference(rule, params, **hypers), grads)
    if not all(np.isfinite(v).all() for v in exact.values()):
        return {}
    expected = {name: v.tolist() for name, v in exact.items()}
    tolerance: dict[str, float] = {}
    for dtype in DTYPES:
        runs = [_Rounding(rule, params, dtype, seed, hypers) for seed in range(_SAMPLES)]
        spread = max(difference(_tensors(_after(run, grads)), expected) for run in runs)
        allowed = float(f"{max(_MARGIN * spread, 8 * _unit(dtype)) * 1.05:.1e}")
        if allowed <= _CHAOS:
            tolerance[_name(dtype)] = allowed
    if "float64" not in tolerance:
        return {}
    return {"arguments": _constructor_arguments(rule, hypers), "expected": expected, "tolerance": tolerance}


def _constructor_arguments(rule: Rule, hypers: dict[str, float]) -> dict[str, Any]:
    return {a.name: [hypers[h.name] for h in a.members] if a.is_tuple else hypers[a.name] for a in arguments(rule)}


def _after(run: Reference, grads: list[list[Array]]) -> dict[str, Array]:
    """What `trial.observed` is to see of an optimizer after these gradients."""
    for step in grads:
        run.step(step)
    rule = live_statements(run.rule)
    out = {f"w {i}": p for i, p in enumerate(run.params)}
    for buffer, (i, p) in itertools.product(rule.buffers, enumerate(run.params)):
        if buffer.kind == Kind.GLOBAL:
            out[buffer.name] = run.state[buffer.name][i]
        elif buffer.name in buffers_read(rule, p.ndim >= 2):
            out[f"{buffer.name} {i}"] = run.state[buffer.name][i]
    return out


class _Rounding(Reference):
    """The reference with every operation and every stored parameter off by a random relative error."""

    def __init__(
        self, rule: Rule, params: Sequence[Array], dtype: torch.dtype, seed: int, hypers: dict[str, float]
    ) -> None:
        super().__init__(rule, params, **hypers)
        self.operation = _ROUNDINGS * _unit(torch.promote_types(dtype, torch.float32))
        self.storage = _unit(dtype)
        self.random = np.random.Generator(np.random.PCG64(seed))

    def step(self, grads: Sequence[Array]) -> None:
        super().step(grads)
        self.params = [self._off(p, self.storage) for p in self.params]

    def evaluate(self, node: Node, env: Any, chosen: Sequence[int]) -> list[Array]:
        values = super().evaluate(node, env, chosen)
        if not node.args:
            return values
        return [v if v.dtype == bool else self._off(v, self.operation) for v in values]

    def _off(self, value: Array, relative: float) -> Array:
        """What fits a float32 is left alone: it is likely exact, as is the mean of one number."""
        with np.errstate(all="ignore"):
            exact = value == value.astype(np.float32)
            return np.where(exact, value, value * (1 + self.random.uniform(-relative, relative, value.shape)))


def _tensors(values: dict[str, Array]) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(v) for name, v in values.items()}


def _unit(dtype: torch.dtype) -> float:
    """The largest relative error of rounding to a dtype."""
    return torch.finfo(dtype).eps / 2


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
