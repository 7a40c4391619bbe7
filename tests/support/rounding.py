"""What may lie between two executors of one rule: what rounding does, as a reference shows that rounds at random."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.testing import assert_array_equal
from numpy.typing import NDArray

from evoptim.dsl import Node, Reference, Rule

Array = NDArray[np.float64]
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


Make: TypeAlias = Callable[..., Reference]
"""Makes a reference: of a rule, parameters and hyperparameters."""


def assert_agrees(found: Array, run: Callable[[Make], Array]) -> None:
    """Assert that a result in float64 is that of the reference, as far as rounding lets it be known.

    Args:
        found: The result.
        run: What gives the result of a reference.
    """
    expected = run(Reference)
    if np.allclose(found, expected, rtol=1e-7, atol=1e-9, equal_nan=True):
        return

    def noisy(seed: int) -> Make:
        return lambda rule, params, **hypers: Noisy(rule, params, 4 * EPS[torch.float64], seed, **hypers)

    compare("w", found, expected, [run(noisy(seed)) for seed in range(SAMPLES)], torch.float64)


def compare(key: str, found: Array, expected: Array, noisy: list[Array], dtype: torch.dtype) -> None:
    """Assert that a result is what the reference has, as far as rounding lets it be known."""
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
