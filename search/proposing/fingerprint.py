"""What a program does, in 16 bytes: its updates for fixed synthetic gradients, rounded, hashed.

The canonical hash knows algebra that is exact; the fingerprint also meets programs that are equal but for rounding,
for constants too close to tell apart, or for a path that is never taken (the functional cache of AutoML-Zero,
Real et al. 2020, arXiv:2003.03384).
"""

from __future__ import annotations

import hashlib
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from evoptim.dsl import Reference, Rule

SHAPES = ((3, 4), (5,))
"""A matrix and a vector: norms over one tensor and over all of them differ."""
SCALES = (1.0, 1.0, 1e-2, 10.0, 1e-4)
"""The standard deviation of each step's gradients."""
BITS = 16
"""Of the significand that are compared: updates that differ by less than about 1e-5 of their size are the same."""


@lru_cache(maxsize=1 << 12)  # it is asked for when a program is proposed and when it has been trained
def fingerprint(rule: Rule) -> str:
    """32 hex digits, the same for programs whose updates agree to `BITS` bits on every step.

    float64 by the reference executor, hyperparameters at their defaults.
    """
    random = np.random.Generator(np.random.PCG64(0))
    run = Reference(rule, [random.standard_normal(s) for s in SHAPES])
    digest = hashlib.blake2b(digest_size=16)
    for scale in SCALES:
        before = run.params
        run.step([scale * random.standard_normal(s) for s in SHAPES])
        for old, new in zip(before, run.params, strict=True):
            digest.update(_rounded(old, new).tobytes())
    return digest.hexdigest()


def _rounded(old: NDArray[np.float64], new: NDArray[np.float64]) -> NDArray[np.float64]:
    """The update to `BITS` significant bits; one NaN, no minus zero."""
    with np.errstate(over="ignore", invalid="ignore"):
        significand, exponent = np.frexp(new - old)
        kept = np.ldexp(np.round(np.ldexp(significand, BITS)), exponent - BITS)
    return np.where(np.isnan(kept), np.nan, kept) + 0.0


class Fingerprints:
    """Which program had a fingerprint first, forgotten after a number of evaluations so that noise is drawn anew.

    Args:
        lifetime: Evaluations after which an entry is forgotten.
    """

    def __init__(self, lifetime: int) -> None:
        self.lifetime = lifetime
        self._owners: dict[str, tuple[str, int]] = {}

    def owner(self, print_: str, evaluated: int) -> str | None:
        """The hash of the program that was trained with this fingerprint, unless that is too long ago."""
        digest, when = self._owners.get(print_, (None, 0))
        return digest if evaluated - when < self.lifetime else None

    def keep(self, print_: str, digest: str, evaluated: int) -> None:
        """Remember that a program with this fingerprint is trained as evaluation number ``evaluated``."""
        self._owners[print_] = digest, evaluated
