"""Kinds: over which axes a value varies. They form a lattice in which values broadcast upward.

A kind is the set of axes a value varies over, so the join of two kinds is a bitwise *or*:

========  =====================================================================
host      hyperparameters, the step ``t`` and what follows from them alone
global    one value a step, over all parameter tensors together
scalar    one value per parameter tensor
plane     one value per trailing matrix of a tensor (differs from scalar from 3-d on)
row, col  one value per row / per column of each trailing matrix
tensor    one value per element
========  =====================================================================
"""

from __future__ import annotations

from enum import IntFlag
from typing import NamedTuple


class Kind(IntFlag):
    """The axes a value varies over; ``a | b`` is the kind of an elementwise operation on both."""

    HOST = 0
    GLOBAL = 1
    SCALAR = 3
    PLANE = 7
    ROW = 15
    COL = 23
    TENSOR = 31

    @property
    def label(self) -> str:
        """The name used in the language and in messages, such as ``row``."""
        return _LABELS[int(self)]

    @property
    def annotation(self) -> str:
        """How a buffer of this kind is declared: the label, but ``global_`` since ``global`` is a Python keyword."""
        return "global_" if self is Kind.GLOBAL else self.label

    def fits(self, target: Kind) -> bool:
        """Whether a value of this kind broadcasts to ``target``."""
        return int(self) | int(target) == int(target)


_LABELS = {0: "host", 1: "global", 3: "scalar", 7: "plane", 15: "row", 23: "col", 31: "tensor"}

STATE_KINDS = {k.annotation: k for k in (Kind.TENSOR, Kind.ROW, Kind.COL, Kind.SCALAR, Kind.GLOBAL)}
"""The kinds a state buffer can be declared with."""


class Type(NamedTuple):
    """The static type of an expression: its kind, and whether it is a condition for ``where``."""

    kind: Kind
    boolean: bool = False

    def __str__(self) -> str:
        return f"{self.kind.label} condition" if self.boolean else self.kind.label
