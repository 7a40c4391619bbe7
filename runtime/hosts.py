"""Host scalars: what follows from hyperparameters, step and shape alone, in float64 and ahead of the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import OPS, Node
from evoptim.dsl.derived import definition

Schedule: TypeAlias = Callable[[int, int], float]
"""The factor on lr at a step (from 0) of so many steps."""


def host_values(
    nodes: Sequence[Node],
    values: Mapping[str, NDArray[np.float64]],
    shape: tuple[int, ...],
    steps: range,
    schedule: Sequence[float],
) -> list[NDArray[Any]]:
    """Every expression for some steps.

    Args:
        nodes: Expressions of hyperparameters, ``t`` and facts.
        values: Each hyperparameter's value, ``[1]`` or ``[R]``.
        shape: Of the parameter, for the facts.
        steps: The steps, the first of a run being 1.
        schedule: The factor on lr at each of them.

    Returns:
        Arrays that broadcast to ``[len(steps), R]``: float64, or bool for conditions.
    """
    rows, cols = shape[-2:] if len(shape) >= 2 else (1, 1)
    facts = {"ndim": len(shape), "numel": math.prod(shape), "rows": rows, "cols": cols}
    env: dict[str, NDArray[Any]] = {name: column[None, :] for name, column in values.items()}
    env["t"] = np.array(steps, dtype=np.float64)[:, None]
    if "lr" in env:
        env["lr"] = env["lr"] * np.array(schedule, dtype=np.float64)[:, None]
    env |= {n: np.full((1, 1), float(v)) for n, v in facts.items()}
    with np.errstate(all="ignore"):
        return [_evaluate(node, env) for node in nodes]


def _evaluate(node: Node, env: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
    if node.op == "const":
        return np.asarray(node.value, dtype=np.float64)
    if node.op == "name":
        return env[str(node.value)]
    op = OPS[node.op]
    arguments = [_evaluate(a, env) for a in node.args]
    if op.derived:
        return _evaluate(definition(op), dict(zip(op.args, arguments, strict=True)))
    assert op.meaning is not None
    return op.meaning(*arguments)
