"""Why a program need not be trained at all, found out by a few steps on small arrays."""

from __future__ import annotations

import numpy as np

from evoptim.dsl import Reference, Rule, zero_gradient_problem

_SHAPES = ((3, 4), (5,))


def veto(rule: Rule) -> str:
    """Why a program is refused without training, or the empty string.

    It goes uphill or to no number at the first step on a quadratic, or it is one that may not be exported because
    a zero gradient with lr 0 changes parameters or breaks the state.
    """
    return first_step_problem(rule) or zero_gradient_problem(rule)


def first_step_problem(rule: Rule) -> str:
    """What is wrong with the first step down half the squared norm, whose gradient is the parameter itself.

    A step of zero passes: some rules wait for a second gradient.
    """
    random = np.random.Generator(np.random.PCG64(1))
    before = [random.standard_normal(s) for s in _SHAPES]
    run = Reference(rule, before)
    run.step(before)
    with np.errstate(over="ignore", invalid="ignore"):
        along = sum(float(np.sum((new - w) * w)) for new, w in zip(run.params, before, strict=True))
    if not np.isfinite(along):
        return "the first step is not finite"
    return "the first step goes up along the gradient" if along > 0 else ""
