"""Bounds of host scalars: is plain Python arithmetic safe here, or could it raise where IEEE has a value?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

from evoptim.dsl import Node

Interval: TypeAlias = tuple[float, float]
EVERYTHING: Interval = (-math.inf, math.inf)
_BELOW_ONE = math.nextafter(1.0, 0.0)
_MODERATE_EXPONENT = 16.0


def hyper_interval(name: str) -> Interval:
    """What the constructor of a generated optimizer lets through for a hyperparameter of that name."""
    if name.startswith("beta") and name[4:].isdigit():
        return 0.0, _BELOW_ONE
    if name in ("lr", "weight_decay", "momentum") or name.startswith("eps"):
        return 0.0, math.inf
    return EVERYTHING


def interval(node: Node, names: Mapping[str, Interval]) -> Interval:
    """Bounds of a host expression; everything where nothing is known."""
    if node.op == "const":
        assert isinstance(node.value, float)
        return node.value, node.value
    if node.op == "name":
        return names.get(str(node.value), EVERYTHING)
    low_high = [interval(a, names) for a in node.args]
    match node.op, low_high:
        case "add", [(a, b), (c, d)]:
            return _clean(a + c, b + d)
        case "sub", [(a, b), (c, d)]:
            return _clean(a - d, b - c)
        case "mul", [(a, b), (c, d)] if a >= 0 and c >= 0:
            return _clean(a * c, b * d)
        case "power", [(a, b), (c, d)] if a >= 0 and b <= 1 and c >= 1:
            return 0.0, b
        case "power", [(a, _), (c, d)] if a >= 1 and -_MODERATE_EXPONENT <= c and d <= 0:
            return 0.0, 1.0
        case (("sqrt" | "log1p" | "expm1"), [(a, b)]) if a >= 0:
            return getattr(math, node.op)(a), math.inf if b > 700 else getattr(math, node.op)(b)
        case "max", [(a, b), (c, d)]:
            return max(a, c), max(b, d)
        case "min", [(a, b), (c, d)]:
            return min(a, c), min(b, d)
        case _:
            return EVERYTHING


def _clean(low: float, high: float) -> Interval:
    return (-math.inf if math.isnan(low) else low), (math.inf if math.isnan(high) else high)


def is_safe(op: str, arguments: list[Interval]) -> bool:
    """Whether Python computes an op on floats within these bounds without raising, and as IEEE has it."""
    match op, arguments:
        case (("add" | "sub" | "mul" | "neg" | "abs" | "max" | "min" | "sign" | "tanh" | "erf" | "arctan"), _):
            return True
        case (("less" | "less_equal" | "greater" | "greater_equal" | "equal" | "not_equal" | "where"), _):
            return True
        case "div", [_, (c, d)]:
            return c > 0 or d < 0
        case "power", [(a, b), (c, d)]:
            return (a >= 0 and b <= 1 and c >= 1) or (a >= 1 and -_MODERATE_EXPONENT <= c and d <= _MODERATE_EXPONENT)
        case "sqrt", [(a, _)]:
            return a >= 0
        case "log1p", [(a, _)]:
            return a >= 0
        case (("expm1" | "exp" | "exp2"), [(_, b)]):
            return b <= 700
        case (("log" | "log2" | "log10"), [(a, _)]):
            return a > 0
        case _:
            return False
