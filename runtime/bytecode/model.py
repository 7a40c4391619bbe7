"""What bytecode is made of: values in domains and spaces, instructions, sections, stages."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from evoptim.dsl import Buffer, Kind, Node, Rule


class Domain(enum.IntEnum):
    """What a value has one entry for, within one parameter."""

    SCALAR = 0
    PLANE = 1
    ROW = 2
    COL = 3
    TENSOR = 4

    @staticmethod
    def of(kind: Kind) -> Domain:
        """The domain of values of a kind."""
        if kind.has_rows and kind.has_cols:
            return Domain.TENSOR
        if kind.has_cols:
            return Domain.ROW
        if kind.has_rows:
            return Domain.COL
        return Domain.PLANE if kind.needs_matrix else Domain.SCALAR


class Space(enum.IntEnum):
    """Where a value lies."""

    REGISTER = 0
    PARAMETER = 1
    GRADIENT = 2
    STATE = 3
    NUMBER = 4
    """Constants and host scalars of a step, one row of them per replica."""
    SCRATCH = 5


@dataclass(frozen=True, slots=True)
class Value:
    """An operand. ``key`` says which one in its space: a register, a slot, a constant or host scalar, a temporary."""

    space: Space
    domain: Domain
    key: int | str | Node


@dataclass(frozen=True, slots=True)
class Instruction:
    """``to = op(arguments)``, entry by entry; for one of `REDUCTIONS`, ``to`` is what the argument is reduced to."""

    op: str
    form: str
    to: Value
    arguments: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Reduction:
    """What a reduction of a section gives. ``mean`` is a sum to be divided; ``shared`` is over all parameters."""

    to: Value
    mean: bool
    shared: bool


@dataclass(frozen=True, slots=True)
class Section:
    """What one stage does in one domain."""

    domain: Domain
    code: tuple[Instruction, ...]
    reductions: tuple[Reduction, ...]


@dataclass(frozen=True, slots=True)
class Code:
    """The bytecode for one class of parameters, stage by stage; ``slots`` are its parameter and its buffers."""

    slots: tuple[Buffer, ...]
    stages: tuple[tuple[Section, ...], ...]
    lined: bool
    """Whether rows, columns or planes matter."""


@dataclass(frozen=True, slots=True)
class Bytecode:
    """A rule for the population machine. ``matrix`` is ``vector`` unless the rule has branches.

    Where ``flat``, all parameters may be seen as one long vector; where ``shaped``, numbers depend on the shape.
    """

    rule: Rule
    vector: Code
    matrix: Code
    flat: bool
    shaped: bool
