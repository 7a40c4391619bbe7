"""What kind of optimizer a program is, told from what it does to synthetic gradients rather than from its text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import Reference, Rule

SHAPE, STEPS = (6, 7), 6
TOLERANCE = 0.01

FAMILIES = {
    "sign-momentum": "all entries move equally far, in directions that earlier gradients have a say in, as with Lion",
    "sign": "all entries move equally far, in directions that the present gradient alone decides",
    "normalised": "gradients that are 10 times as large lead to the same updates, as with Adam",
    "scaled": "updates grow with the gradients, as with SGD",
    "still": "the last step changes nothing, or is not finite",
}


def family(rule: Rule) -> str:
    """One of `FAMILIES`, by the last of a few steps with hyperparameters at their defaults, in float64."""
    gradients = _gradients(0)
    update = _last_update(rule, gradients)
    if not np.isfinite(update).all() or not update.any():
        return "still"
    size = np.abs(update)
    if size.max() - size.min() <= TOLERANCE * size.max():
        other = [*_gradients(1)[:-1], gradients[-1]]  # another past, the same present
        changed = np.sign(_last_update(rule, other)) != np.sign(update)
        return "sign-momentum" if changed.any() else "sign"
    larger = _last_update(rule, [10 * g for g in gradients])
    same = np.abs(larger - update).max() <= TOLERANCE * size.max()
    return "normalised" if same else "scaled"


def _gradients(seed: int) -> list[NDArray[np.float64]]:
    random = np.random.Generator(np.random.PCG64(seed))
    return [random.standard_normal(SHAPE) for _ in range(STEPS)]


def _last_update(rule: Rule, gradients: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    run = Reference(rule, [np.random.Generator(np.random.PCG64(2)).standard_normal(SHAPE)])
    with np.errstate(all="ignore"):
        for g in gradients:
            before = run.params[0]
            run.step([g])
        return run.params[0] - before
