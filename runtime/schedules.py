"""Learning-rate schedules: the factor on lr at step k (from 0) of n."""

from __future__ import annotations

import math
from collections.abc import Callable

from evoptim.dsl import UserError


def constant(k: int, n: int) -> float:
    """1 throughout."""
    return 1.0


def linear(k: int, n: int) -> float:
    """From 1 down to 1/n: zero would be reached one step after the last."""
    return 1.0 - k / n


def cosine(k: int, n: int) -> float:
    """Half a cosine from 1 towards 0 (Loshchilov and Hutter 2017, arXiv:1608.03983)."""
    return 0.5 * (1.0 + math.cos(math.pi * k / n))


SCHEDULES: dict[str, Callable[[int, int], float]] = {"constant": constant, "linear": linear, "cosine": cosine}


def get_schedule(name: str) -> Callable[[int, int], float]:
    """A schedule by name.

    Raises:
        UserError: There is no schedule of that name.
    """
    if name not in SCHEDULES:
        raise UserError(f"there is no schedule named {name!r}", f"the schedules are {', '.join(SCHEDULES)}")
    return SCHEDULES[name]
