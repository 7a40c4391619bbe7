"""What a stage computes in one domain: instructions in order, stores, and where everything lies."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from evoptim.dsl import OPS, Node, Reduce

from .fusion import Fused, fuse
from .model import Domain, Instruction, Reduction, Section, Space, Value
from .opcodes import COPY, EXPAND, SCALAR, SUMMED, VECTOR, instruction_set

Key: TypeAlias = "Node | tuple[str, Value]"
"""What a register holds: a value, a smaller one ``spread`` over the entries, what a buffer ``held`` before a store."""

Place: TypeAlias = "Key | Value"
"""An operand: in a register yet to be chosen, or in memory."""

_END = 1 << 30  # later than any step


@dataclass(frozen=True, slots=True)
class Store:
    """A value to be written to memory."""

    to: Value
    node: Node


@dataclass(frozen=True, slots=True)
class _Step:
    """An instruction whose registers are not chosen yet."""

    op: str
    result: Place
    arguments: tuple[Place, ...]


class SectionCompiler:
    """Computes values of one domain, reduces and stores them.

    Args:
        domain: The domain.
        nodes: What to compute, arguments first. What is smaller than a tensor goes to scratch memory and stays there.
        uses: How often each value is read, from whatever section.
        find: The operand for a value that is in memory before the section runs.
        temporary: Scratch memory for a value.
    """

    def __init__(
        self,
        domain: Domain,
        nodes: Sequence[Node],
        uses: Mapping[Node, int],
        find: Callable[[Node], Value | None],
        temporary: Callable[[Node], Value],
    ) -> None:
        self.domain, self.find, self.temporary = domain, find, temporary
        self.plain = {n: (n.op, n.args) for n in nodes}
        self.computed: dict[Node, Fused] = self.plain if domain is Domain.SCALAR else fuse(nodes, uses, self._form)
        self.home: dict[Place, Value] = {}
        if domain is not Domain.TENSOR:
            self.home |= {n: temporary(n) for n in self.computed}
        self.steps: list[_Step] = []
        self.made: set[Place] = set()

    @property
    def left(self) -> dict[Node, Value]:
        """What stays in scratch memory."""
        return {n: self.temporary(n) for n in self.computed} if self.domain is not Domain.TENSOR else {}

    def compiled(self, stores: Sequence[Store], reductions: Sequence[Node]) -> Section:
        """The section that makes these stores and reductions, which belong to its domain."""
        for n, (op, arguments) in self.computed.items():
            self.steps.append(_Step(op, n, self._operands(op, arguments)))
            self._reduce([r for r in reductions if r.args[0] is n])
        self._reduce([r for r in reductions if r.args[0] not in self.computed])
        self._choose_homes(stores)
        self._store(stores)
        found = [
            Reduction(self.temporary(n), OPS[n.op].torch == "mean", OPS[n.op].reduce is Reduce.GLOBAL)
            for n in reductions
        ]
        return Section(self.domain, self._with_registers(), tuple(found))

    def _form(self, arguments: tuple[Node, ...]) -> str:
        """Whether each argument is a vector or a scalar; where all are scalars, they are vectors of one entry."""
        return "".join(SCALAR if self._is_scalar(a) else VECTOR for a in arguments)

    def _is_scalar(self, n: Node) -> bool:
        if self.domain is Domain.SCALAR or n in self.plain:
            return False
        found = self.find(n)
        return found is not None and found.domain is Domain.SCALAR

    def _operands(self, op: str, arguments: tuple[Node, ...]) -> tuple[Place, ...]:
        places = [self._place(a) for a in arguments]
        if (op, self._form(arguments)) not in instruction_set():
            places = [self._spread(p) for p in places]
        return tuple(places)

    def _spread(self, place: Place) -> Place:
        """A vector, if an operand is a scalar."""
        if isinstance(place, Value) and self._reads_scalar(place):
            return self._once(COPY, "spread", place)
        return place

    def _place(self, n: Node) -> Place:
        """The operand for a value; smaller ones are spread over the entries once."""
        found = None if n in self.computed else self.find(n)
        if found is None or found.domain in (Domain.SCALAR, self.domain):
            return n if found is None else found
        return self._once(EXPAND, "spread", found)

    def _once(self, op: str, what: str, value: Value) -> Key:
        key = (what, value)
        if key not in self.made:
            self.made.add(key)
            self.steps.append(_Step(op, key, (value,)))
        return key

    def _reduce(self, reductions: Sequence[Node]) -> None:
        for n in reductions:
            how = SUMMED.get(OPS[n.op].torch, OPS[n.op].torch)
            self.steps.append(_Step(how, self.temporary(n), (self._place(n.args[0]),)))

    def _choose_homes(self, stores: Sequence[Store]) -> None:
        """Compute what is to be stored where it belongs, if nothing reads what is there later on."""
        made = {step.result: k for k, step in enumerate(self.steps)}
        read = {a: k for k, step in enumerate(self.steps) for a in step.arguments}
        written = {s.to for s in stores}
        read |= dict.fromkeys(written & {self._place(s.node) for s in stores}, _END)
        for s in stores:
            if s.node in self.computed and s.node not in self.home and read.get(s.to, -1) <= made[s.node]:
                self.home[s.node] = s.to

    def _store(self, stores: Sequence[Store]) -> None:
        """Copy what was not computed in its place: first what would be overwritten, then everything."""
        written = {s.to for s in stores}
        copies: list[_Step] = []
        for s in stores:
            place = self._place(s.node)
            if s.to == place or s.to == self.home.get(place):
                continue
            if isinstance(place, Value) and place in written:
                place = self._once(COPY, "held", place)
            copies.append(_Step(COPY, s.to, (place,)))
        self.steps += copies

    def _with_registers(self) -> tuple[Instruction, ...]:
        """The instructions, in as few registers as their order allows."""
        last = {a: k for k, step in enumerate(self.steps) for a in step.arguments}
        places: dict[Place, Value] = dict(self.home)
        free: list[int] = []
        count = 0
        out: list[Instruction] = []
        for k, step in enumerate(self.steps):
            arguments = tuple(a if isinstance(a, Value) else places[a] for a in step.arguments)
            free += {
                a.key
                for key, a in zip(step.arguments, arguments, strict=True)
                if a.space is Space.REGISTER and last[key] == k and isinstance(a.key, int)
            }
            if not isinstance(step.result, Value) and step.result not in places:
                if not free:
                    free, count = [count], count + 1
                free.sort(reverse=True)
                places[step.result] = Value(Space.REGISTER, self.domain, free.pop())
            to = step.result if isinstance(step.result, Value) else places[step.result]
            form = "".join(SCALAR if self._reads_scalar(a) else VECTOR for a in arguments)
            out.append(Instruction(step.op, form, to, arguments))
        return tuple(out)

    def _reads_scalar(self, value: Value) -> bool:
        return value.domain is Domain.SCALAR and self.domain is not Domain.SCALAR
