"""Tuning domains of hyperparameters: where a tuner may look, and on what scale."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Domain:
    """A tuning domain, written ``lr: log(1e-5, 1e-1) = 1e-3`` in a rule's signature.

    ``log`` is uniform in log(x), ``uniform`` in x, ``one_minus_log`` in log(1 - x) (for decay rates near 1),
    ``choice`` picks one of the values.
    """

    scale: str
    values: tuple[float, ...]

    @staticmethod
    def problem(scale: str, values: tuple[float, ...]) -> str:
        """What is wrong with such a domain, or the empty string."""
        if not all(map(math.isfinite, values)):
            return "its bounds must be finite"
        if scale == "choice":
            return "" if values else "it needs at least one value"
        if len(values) != 2:
            return f"{scale} takes two numbers, the lower and the upper bound"
        low, high = values
        if low >= high:
            return "the lower bound must lie below the upper one"
        if scale == "log" and low <= 0:
            return "log needs bounds above 0"
        if scale == "one_minus_log" and high >= 1:
            return "one_minus_log needs bounds below 1"
        return ""

    def __contains__(self, value: object) -> bool:
        if not isinstance(value, int | float):
            return False
        if self.scale == "choice":
            return value in self.values
        return self.values[0] <= value <= self.values[1]

    @staticmethod
    def customary(name: str, default: float) -> Domain:
        """A sensible domain for a common name, else one around the default."""
        if name == "lr":
            return Domain("log", (default / 100, default * 100)) if default > 0 else Domain("log", (1e-5, 1.0))
        if name.startswith("eps"):
            return Domain("log", (1e-12, 1e-3))
        if name == "weight_decay":
            return Domain("log", (1e-6, 1.0))
        if (name.startswith("beta") or name in ("momentum", "alpha")) and 0.5 <= default < 1:
            return Domain("one_minus_log", (0.5, 0.9999))
        if default > 0:
            return Domain("log", (default / 10, default * 10))
        return Domain("uniform", (default - 1, default + 1))


SCALES = ("log", "uniform", "one_minus_log", "choice")
