"""A rule as bytecode for the population machine.

A rule's plan (`evoptim.codegen.plan`) cuts its step at reductions. Every stage becomes *sections*, one per domain in
which the stage computes anything: scalars (one value a parameter), planes, rows, columns, then the entries themselves.
A section runs tile by tile. What it computes per entry lies in registers, which are as many tiles of scratch memory;
all smaller values lie in scratch memory of their own. Buffers are operands like any other, so nothing is loaded or
stored but by the instructions that compute.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from evoptim.codegen.plan import Plan, plan
from evoptim.dsl import OPS, Buffer, Kind, Node, Rule, canonicalize
from evoptim.dsl.kinds import FACTS

from .model import Bytecode, Code, Domain, Section, Space, Value
from .opcodes import printable
from .sections import SectionCompiler, Store


def compile_bytecode(rule: Rule) -> Bytecode | None:
    """The bytecode of a valid rule, or None if it has none.

    There is none for matrix products, for operations without a C++ form, and for values over all parameters in a
    rule that treats matrices differently, since their stages may not be cut alike.
    """
    return _compile(rule.replace(doc="").text, rule.replace(doc=""), OPS.version)


@lru_cache(maxsize=4096)
def _compile(text: str, rule: Rule, version: int) -> Bytecode | None:
    short = canonicalize(rule)
    plans = [plan(short, False), plan(short, True)] if short.branches else [plan(short, False)]
    if not all(map(_has_bytecode, plans)):
        return None
    codes = [_Compiler(p).code() for p in plans]
    shaped = any(h.names & FACTS.keys() for p in plans for h in p.hosts)
    flat = len(plans) == 1 and not plans[0].reductions and not shaped
    return Bytecode(rule, codes[0], codes[-1], flat, shaped)


def _has_bytecode(p: Plan) -> bool:
    shared = p.shared or any(b.kind == Kind.GLOBAL for b in p.slots)
    if p.multiplies or (shared and p.rule.branches):
        return False
    numbers = {n for h in p.hosts for n in h.walk()}
    return all(OPS[n.op].reduce or printable(OPS[n.op]) for n in p.kinds if n.args and n not in numbers)


class _Compiler:
    """Turns the plan of one class of parameters into stages."""

    def __init__(self, p: Plan) -> None:
        self.plan = p
        self.memory: dict[Node, Value] = {}  # what earlier sections have left
        self.slots = {b.name: Domain.of(b.kind) for b in (*p.slots, Buffer("g"))}
        self.new = dict(zip((b.name for b in p.slots), p.outputs, strict=True))

    def code(self) -> Code:
        """All stages, then the states with less than one value per entry, then those that all parameters share."""
        p = self.plan
        stages = [self._stage(k) for k in range(len(p.stages))]
        shared = {b.name: self.new[b.name] for b in p.slots[1:] if b.kind == Kind.GLOBAL}
        own = {s: self.new[s] for s in p.small if s not in shared}
        if p.small:
            stages.append(self._sections(own, kept=[*shared.values()]))
        if shared:  # written when no parameter reads them any more
            self.memory |= {n: self.temporary(n) for n in shared.values()}
            stages.append(self._sections(shared))
        return Code(p.slots, tuple(stages), p.matrix and not p.flat)

    def _stage(self, k: int) -> tuple[Section, ...]:
        stage = self.plan.stages[k]
        writes = {s: self.new[s] for s in stage.writes}
        out = self._sections(writes, stage.keeps, stage.reductions)
        self.memory |= {n: self.temporary(n) for n in (*stage.keeps, *stage.reductions)}
        self.memory |= {n: self.slot(s) for s, n in writes.items() if self.domain(n) is Domain.TENSOR}
        return out

    def _sections(
        self, writes: Mapping[str, Node], kept: Sequence[Node] = (), reductions: Sequence[Node] = ()
    ) -> tuple[Section, ...]:
        """What writes slots, keeps values in scratch memory and reduces others, smaller domains first."""
        roots = [*(n.args[0] for n in reductions), *kept, *writes.values()]
        todo = self._missing(roots)
        uses = Counter([*roots, *(a for n in todo for a in n.args)])
        stores = [Store(self.slot(s), n) for s, n in writes.items()] + [Store(self.temporary(n), n) for n in kept]
        out: list[Section] = []
        for domain in Domain:
            nodes = [n for n in todo if self.domain(n) is domain]
            section = SectionCompiler(domain, nodes, uses, self.find, self.temporary)
            here = [s for s in stores if s.to.domain is domain]
            reduced = [n for n in reductions if self.domain(n.args[0]) is domain]
            out.append(section.compiled(here, reduced))
            self.memory |= section.left
        return tuple(s for s in out if s.code)

    def _missing(self, roots: Iterable[Node]) -> list[Node]:
        """What has to be computed for some values, arguments first."""
        out: dict[Node, None] = {}
        stack = [(n, False) for n in reversed([*roots])]
        while stack:
            n, ready = stack.pop()
            if ready:
                out[n] = None
            elif n not in out and self.find(n) is None:
                stack.append((n, True))
                stack.extend((a, False) for a in reversed(n.args))
        return [*out]

    def domain(self, n: Node) -> Domain:
        """The domain of a value."""
        return Domain.of(self.plan.kinds[n])

    def find(self, n: Node) -> Value | None:
        """The operand for a value that is there already."""
        if n in self.memory:
            return self.memory[n]
        if self.plan.kinds[n].number:
            return Value(Space.NUMBER, Domain.SCALAR, n)
        return self.slot(str(n.value)) if n.op == "name" else None

    def slot(self, slot: str) -> Value:
        """A buffer as an operand."""
        space = {"w": Space.PARAMETER, "g": Space.GRADIENT}.get(slot, Space.STATE)
        return Value(space, self.slots[slot], slot)

    def temporary(self, n: Node) -> Value:
        """Scratch memory for a value."""
        return Value(Space.SCRATCH, self.domain(n), n)
