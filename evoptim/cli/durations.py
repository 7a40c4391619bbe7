"""Durations as a person writes them: 90s, 15m, 2h, 1h30m."""

from __future__ import annotations

import re

from evoptim.dsl import UserError

_SECONDS = {"d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)([dhms])")


def minutes(text: str) -> float:
    """How many minutes a duration has.

    Raises:
        UserError: It is not written as one, or is nothing.
    """
    parts = _PART.findall(text)
    total = sum(float(number) * _SECONDS[unit] for number, unit in parts)
    if "".join(number + unit for number, unit in parts) != text or not 0 < total < float("inf"):
        raise UserError(f"{text!r} is not a duration", "write it as 90s, 15m, 2h or 1h30m")
    return total / 60
