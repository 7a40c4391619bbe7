"""Host scalars: what follows from hyperparameters, step and shape alone, in float64 and ahead of the steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import OPS, Node
from evoptim.dsl.derived import definition
from evoptim.dsl.node import name

Environment: TypeAlias = dict[Node, NDArray[Any]]
"""What is known of some steps: names and expressions with their values."""

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
    env = environment(values, shape, steps, schedule)
    with np.errstate(all="ignore"):
        return [evaluated(node, env) for node in nodes]


def environment(
    values: Mapping[str, NDArray[np.float64]], shape: tuple[int, ...], steps: range, schedule: Sequence[float]
) -> Environment:
    """What expressions are made of; the arguments are those of `host_values`."""
    rows, cols = shape[-2:] if len(shape) >= 2 else (1, 1)
    facts = {"ndim": len(shape), "numel": math.prod(shape), "rows": rows, "cols": cols}
    columns: dict[str, NDArray[Any]] = {n: column[None, :] for n, column in values.items()}
    columns["t"] = np.array(steps, dtype=np.float64)[:, None]
    if "lr" in columns:
        columns["lr"] = columns["lr"] * np.array(schedule, dtype=np.float64)[:, None]
    columns |= {n: np.full((1, 1), float(v)) for n, v in facts.items()}
    return {name(n): column for n, column in columns.items()}


def evaluated(tree: Node, env: Environment) -> NDArray[Any]:
    """The value of an expression; ``env`` gets those of its parts, each computed once however often it is read."""
    if tree not in env:
        for node in tree.walk():
            if node not in env:
                env[node] = _evaluate(node, env)
    return env[tree]


def _evaluate(node: Node, env: Environment) -> NDArray[Any]:
    """The value of an expression whose arguments have theirs."""
    if node.op == "const":
        return np.asarray(node.value, dtype=np.float64)
    op = OPS[node.op]
    arguments = [env[a] for a in node.args]
    if op.derived:
        return evaluated(definition(op), dict(zip(map(name, op.args), arguments, strict=True)))
    assert op.meaning is not None
    return op.meaning(*arguments)
