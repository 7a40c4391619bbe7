"""What one rule over some parameters needs in memory, and the tables that tell the interpreter where it is."""

from __future__ import annotations

import ctypes
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from ctypes import c_int32, c_int64
from dataclasses import dataclass
from typing import Any, TypeAlias

from evoptim.dsl import Buffer, Kind, Node

from ..bytecode import Bytecode, Code, Domain, Instruction, Reduction, Section, Space, Value, instruction_set
from ..bytecode.opcodes import EXPAND, REDUCTIONS
from . import structures as c

TILE = 512
"""Entries of a register: a dozen of them stay in the first-level cache."""
UNIT = 16384
"""Entries, about, that a thread, or a block of a GPU's, takes at a time where replicas are few."""
_ALIGNED = 16
"""Buffers of state and scratch memory begin at multiples of this many numbers."""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Extent:
    """The sizes of one parameter: where it begins in the flat vector, entries of each domain, rows and columns."""

    shape: Shape
    begin: int
    lengths: tuple[int, ...]
    rows: int
    cols: int

    @staticmethod
    def of(shape: Shape, begin: int) -> Extent:
        """The sizes of a parameter of a shape."""
        rows, cols = shape[-2:] if len(shape) >= 2 else (1, math.prod(shape))
        planes = math.prod(shape[:-2])
        return Extent(shape, begin, (1, planes, planes * rows, planes * cols, math.prod(shape)), rows, cols)

    def found(self, domain: Domain, onto: Domain, unit: int) -> int:
        """How many partial results a reduction has, with as many units as there may be."""
        if domain is not Domain.TENSOR or onto is Domain.ROW:
            return self.lengths[onto]
        units = 1 + self.lengths[Domain.PLANE] * -(-self.rows * self.cols // unit)
        return units * (self.cols if onto is Domain.COL else 1)


class _Arena:
    """Gives out memory from its beginning."""

    def __init__(self) -> None:
        self.size = 0

    def take(self, count: int) -> int:
        """The offset of so many more numbers."""
        offset = self.size
        self.size += -(-count // _ALIGNED) * _ALIGNED
        return offset


class _CodeTable:
    """The tables of the code for one class of parameters."""

    def __init__(self, code: Code) -> None:
        self.code = code
        self.values: dict[Value, int] = {}
        self.registers = 0
        self.most_reductions = 0
        self.reductions: list[tuple[Domain, Domain]] = []
        self._instructions: list[c.Instruction] = []
        self._reductions: list[c.Reduction] = []
        self._moving: list[int] = []
        sections = [self._section(s) for stage in code.stages for s in stage]
        stages = itertools.accumulate(map(len, code.stages), initial=0)
        self.arrays = {
            "instructions": _array(c.Instruction, self._instructions),
            "sections": _array(c.Section, sections),
            "reductions": _array(c.Reduction, self._reductions),
            "stages": _array(c_int32, stages),
            "moving": _array(c_int32, self._moving),
            "spaces": _array(c_int32, (v.space for v in self.values)),
        }
        counts = {"stage_count": len(code.stages), "value_count": len(self.values), "lined": code.lined}
        self.structure = c.Code(**self.arrays, **counts)

    def _section(self, section: Section) -> c.Section:
        begins = len(self._instructions), len(self._moving), len(self._reductions)
        order = {r.to: k for k, r in enumerate(section.reductions)}
        read = dict.fromkeys(v for i in section.code for v in (i.to, *i.arguments))
        self._instructions += [self._instruction(i, order) for i in section.code]
        self._reductions += [self._reduction(r, section) for r in section.reductions]
        moves = (v for v in read if v.domain is section.domain and v.space is not Space.REGISTER)
        self._moving += [self._index(v) for v in moves if v.domain is not Domain.SCALAR]
        self.most_reductions = max(self.most_reductions, len(section.reductions))
        ends = len(self._instructions), len(self._moving), len(self._reductions)
        return c.Section(section.domain, *(x for pair in zip(begins, ends, strict=True) for x in pair))

    def _instruction(self, i: Instruction, order: Mapping[Value, int]) -> c.Instruction:
        arguments = [self._index(v) for v in i.arguments]
        if i.op == EXPAND:
            arguments.append(i.arguments[0].domain)
        to = order[i.to] if i.to in order else self._index(i.to)
        return c.Instruction(instruction_set().number(i.op, i.form), to, tuple(arguments))

    def _reduction(self, r: Reduction, section: Section) -> c.Reduction:
        self.reductions.append((section.domain, r.to.domain))
        how = next(REDUCTIONS.index(i.op) for i in section.code if i.to == r.to)
        return c.Reduction(how, self._index(r.to), section.domain, r.to.domain, r.mean, r.shared)

    def _index(self, value: Value) -> int:
        if isinstance(value.key, int):
            self.registers = max(self.registers, value.key + 1)
        return self.values.setdefault(value, len(self.values))


@dataclass(frozen=True, slots=True)
class _ParameterTable:
    """The table of a parameter, with what it points to."""

    code: _CodeTable
    arrays: dict[str, Any]
    structure: c.Parameter


def _array(kind: Any, items: Iterable[Any]) -> Any:
    found = [*items]
    return (kind * len(found))(*found)


class Tables:
    """One rule over parameters of some shapes.

    Args:
        bytecode: The rule.
        layout: The shapes of the parameters, which follow one another in a flat vector.
        unit: Entries, about, of a unit: what a thread, or a block of a GPU's, takes at a time.

    Attributes:
        width: How many numbers the flat vector has.
        extents: The parameters; one, if the rule may see all of them as one long vector.
        numbers: What each number of a replica's row is, a constant or host expression, with the shape it is for.
        buffers: Every state of every parameter, and where it begins in a replica's state.
        program: The interpreter's table.
    """

    def __init__(self, bytecode: Bytecode, layout: Sequence[Shape], unit: int = UNIT) -> None:
        self.bytecode, self.unit = bytecode, unit
        self.width = sum(map(math.prod, layout))
        self.extents = _extents(bytecode, layout)
        self.numbers: dict[tuple[Node, Shape], int] = {}
        self.buffers: list[tuple[Buffer, Extent, int]] = []
        self._state, self._scratch, self._partials = _Arena(), _Arena(), _Arena()
        self._shared: dict[str, int] = {}  # buffers that all parameters share
        vector = _CodeTable(bytecode.vector)
        matrix = vector if bytecode.matrix is bytecode.vector else _CodeTable(bytecode.matrix)
        self.codes = (vector, matrix)
        self.parameters = [self._parameter(matrix if len(e.shape) >= 2 else vector, e) for e in self.extents]
        self.stages = max(len(code.code.stages) for code in self.codes)
        structures = _array(c.Parameter, (p.structure for p in self.parameters))
        self.program = c.Program(structures, len(self.parameters), self.stages)

    @property
    def state(self) -> int:
        """How many numbers of state a replica has."""
        return self._state.size

    @property
    def scratch(self) -> int:
        """How many numbers a replica needs for a step, registers apart."""
        return self._scratch.size

    @property
    def partials(self) -> int:
        """How many partial results a replica has."""
        return self._partials.size

    @property
    def units(self) -> int:
        """How many units the entries of a replica would fill."""
        return -(-self.width // self.unit)

    def _parameter(self, code: _CodeTable, extent: Extent) -> _ParameterTable:
        places = {b.name: self._begin(b, extent) for b in code.code.slots[1:]}
        temporaries: dict[Node, int] = {}
        offsets = [self._offset(v, extent, places, temporaries) for v in code.values]
        partials = [self._partials.take(extent.found(*r, self.unit)) for r in code.reductions]
        arrays = {"offsets": _array(c_int64, offsets), "partials": _array(c_int64, partials)}
        sizes = {"lengths": extent.lengths, "rows": extent.rows, "cols": extent.cols}
        return _ParameterTable(code, arrays, c.Parameter(ctypes.pointer(code.structure), **arrays, **sizes))

    def _begin(self, buffer: Buffer, extent: Extent) -> int:
        """Where a parameter's state begins."""
        if buffer.name in self._shared:
            return self._shared[buffer.name]
        begin = self._state.take(extent.lengths[Domain.of(buffer.kind)])
        self.buffers.append((buffer, extent, begin))
        if buffer.kind == Kind.GLOBAL:
            self._shared[buffer.name] = begin
        return begin

    def _offset(self, value: Value, extent: Extent, places: Mapping[str, int], temporaries: dict[Node, int]) -> int:
        """Where a parameter's value lies in its space."""
        key = value.key
        match value.space:
            case Space.REGISTER:
                assert isinstance(key, int)
                return key * TILE
            case Space.PARAMETER | Space.GRADIENT:
                return extent.begin
            case Space.STATE:
                return places[str(key)]
            case Space.NUMBER:
                assert isinstance(key, Node)
                shape = extent.shape if self.bytecode.shaped and key.op != "const" else ()
                return self.numbers.setdefault((key, shape), len(self.numbers))
            case Space.SCRATCH:
                assert isinstance(key, Node)
                if key not in temporaries:
                    temporaries[key] = self._scratch.take(extent.lengths[value.domain])
                return temporaries[key]


def _extents(bytecode: Bytecode, layout: Sequence[Shape]) -> list[Extent]:
    if bytecode.flat:
        return [Extent.of((sum(map(math.prod, layout)),), 0)]
    sizes = map(math.prod, layout)
    return [Extent.of(s, begin) for s, begin in zip(layout, itertools.accumulate(sizes, initial=0), strict=False)]
