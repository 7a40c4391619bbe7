"""Bounds of host scalars: is plain Python arithmetic safe here, or could it raise where IEEE has a value?"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import TypeAlias

from evoptim.dsl import Node

Interval: TypeAlias = tuple[float, float]
"""The lowest and the highest value; a value within bounds is no NaN, unless the bounds are `EVERYTHING`."""
EVERYTHING: Interval = (-math.inf, math.inf)
FINITE: Interval = (-sys.float_info.max, sys.float_info.max)
STEPS: Interval = (1.0, 2.0**53)
"""The step count t."""
_BELOW_ONE = math.nextafter(1.0, 0.0)
_LARGEST_EXPONENT = 700.0
_MODERATE_EXPONENT = 16.0
_MODERATE_BASE = 1e19  # to the power of 16 it is still finite


def hyper_interval(name: str) -> Interval:
    """What the constructor of a generated optimizer lets through for a hyperparameter of that name."""
    if name.startswith("beta") and name[4:].isdigit():
        return 0.0, _BELOW_ONE
    if name in ("lr", "weight_decay", "momentum") or name.startswith("eps"):
        return 0.0, math.inf
    return FINITE


def interval(node: Node, names: Mapping[str, Interval]) -> Interval:
    """Bounds of a host expression; everything where nothing is known."""
    if node.op == "const":
        assert isinstance(node.value, float)
        return node.value, node.value
    if node.op == "name":
        return names.get(str(node.value), EVERYTHING)
    arguments = [interval(a, names) for a in node.args]
    match node.op, arguments:
        case "add", [(a, b), (c, d)]:
            return _hull(a + c, b + d)
        case "neg", [(a, b)]:
            return -b, -a
        case "sub", [(a, b), (c, d)]:
            return _hull(a - d, b - c)
        case "mul", [(a, b), (c, d)]:
            return _hull(a * c, a * d, b * c, b * d)
        case "div", [(a, b), (c, d)] if is_safe("div", arguments):
            return _hull(a / c, a / d, b / c, b / d)
        case "power", [(a, b), (c, _)] if a >= 0 and b <= 1 and c >= 1:
            return 0.0, b
        case "power", [(a, _), (c, d)] if a >= 1 and -_MODERATE_EXPONENT <= c and d <= 0:
            return 0.0, 1.0
        case ("sqrt" | "log1p" | "expm1") as op, [(a, b)] if a >= 0:
            return _monotone(op, a), _monotone(op, b)
        case ("max" | "min") as op, [(a, b), (c, d)] if is_safe(op, arguments):
            return (max(a, c), max(b, d)) if op == "max" else (min(a, c), min(b, d))
        case _:
            return EVERYTHING


def _hull(*corners: float) -> Interval:
    """The bounds of an operation that is monotone in each argument, from its values at the arguments' bounds."""
    return EVERYTHING if any(map(math.isnan, corners)) else (min(corners), max(corners))


def _monotone(op: str, x: float) -> float:
    return math.inf if op == "expm1" and x > _LARGEST_EXPONENT else getattr(math, op)(x)


def is_safe(op: str, arguments: list[Interval]) -> bool:
    """Whether Python computes an op on floats within these bounds without raising, and as IEEE has it."""
    match op, arguments:
        case (("add" | "sub" | "mul" | "neg" | "abs" | "sign" | "tanh" | "erf" | "arctan"), _):
            return True
        case (("less" | "less_equal" | "greater" | "greater_equal" | "equal" | "not_equal" | "where"), _):
            return True
        case (("max" | "min"), [(a, b), (c, d)]):  # Python's pass over a NaN, and take -0 for 0
            both_zero = a <= 0 <= b and c <= 0 <= d
            return EVERYTHING not in arguments and not both_zero
        case "div", [_, (c, d)]:
            return c > 0 or d < 0
        case "power", [(a, b), (c, d)] if a >= 1 and b <= _MODERATE_BASE:
            return -_MODERATE_EXPONENT <= c and d <= _MODERATE_EXPONENT
        case "power", [(a, b), (c, _)]:
            return a >= 0 and b <= 1 and c >= 1
        case "floor", [(a, b)]:
            return math.isfinite(a) and math.isfinite(b)
        case (("sqrt" | "log1p"), [(a, _)]):
            return a >= 0
        case (("expm1" | "exp" | "exp2"), [(_, b)]):
            return b <= _LARGEST_EXPONENT
        case (("log" | "log2" | "log10"), [(a, _)]):
            return a > 0
        case _:
            return False
