"""The gate every exported rule passes: a zero gradient with lr 0 changes no parameter and leaves state finite.

Distributed checkpointing creates an optimizer's state by such a step, so a rule that divides zero by zero there turns
a model into NaN before it has begun.
"""

from __future__ import annotations

import numpy as np

from .reference import Reference
from .rule import Rule

_SHAPES = ((), (3,), (2, 3), (2, 3, 2))


def zero_gradient_problem(rule: Rule) -> str:
    """What goes wrong under zero gradients with lr 0, on a fresh state or after two steps; empty if nothing does."""
    for steps_before in (0, 2):
        random = np.random.Generator(np.random.PCG64(0))
        params = [random.standard_normal(s) for s in _SHAPES]
        run = Reference(rule, params)
        for _ in range(steps_before):
            run.step([random.standard_normal(s) for s in _SHAPES])
        before = [p.copy() for p in run.params]
        run.hypers["lr"] = 0.0
        for _ in range(3):
            run.step([np.zeros(s) for s in _SHAPES])
        when = "at the first step" if steps_before == 0 else "after ordinary steps"
        if not all(np.array_equal(a, b) for a, b in zip(before, run.params, strict=True)):
            return f"a zero gradient with lr 0 changes parameters {when}"
        for name, values in run.state.items():
            if not all(np.isfinite(v).all() for v in values):
                return f"a zero gradient leaves buffer {name!r} not finite {when}"
    return ""
