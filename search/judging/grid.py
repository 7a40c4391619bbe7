"""The grid of settings that every program is trained with, and how it is continued beyond its edges."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..evaluator import Trial, score

FIRST_RATIO = 10.0
"""Ratio to the next weight decay where only one above 0 has been tried."""


def grid(rates: Sequence[float], decays: Sequence[float]) -> list[dict[str, float]]:
    """Every learning rate with every weight decay; without decays the learning rates alone."""
    if not decays:
        return [{"lr": lr} for lr in rates]
    return [{"lr": lr, "weight_decay": decay} for lr in rates for decay in decays]


def beyond(trials: Sequence[Trial]) -> list[dict[str, float]]:
    """The settings beyond the edges of what was tried on which the best one lies; empty where it lies within.

    On each axis of which two values or more were tried the next one follows by the ratio of the last two, with the
    best value of the other axis. A weight decay of 0 has nothing below it.
    """
    best = score(trials)
    if best.status != "ok":
        return []
    out: list[dict[str, float]] = []
    for axis in ("lr", "weight_decay"):
        values = sorted({t.setting[axis] for t in trials if axis in t.setting})
        value = _next(values, best.setting[axis]) if len(values) > 1 else None
        if value is not None:
            out.append({**best.setting, axis: value})
    return out


def _next(values: Sequence[float], best: float) -> float | None:
    """The value beyond the edge, with six digits; None where there is none."""
    if best == values[0] and best > 0:
        value = values[0] * (values[0] / values[1])
    elif best == values[-1]:
        value = values[-1] * (values[-1] / values[-2] if values[-2] > 0 else FIRST_RATIO)
    else:
        return None
    rounded = float(f"{value:.6g}")
    return rounded if 0 < rounded < math.inf else None
