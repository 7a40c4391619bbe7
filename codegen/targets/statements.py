"""What the printers of kernels share: names, tables, and the statements that compute values from what is in memory."""

from __future__ import annotations

import keyword
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable

from evoptim.dsl import OPS, Kind, Node, Op
from evoptim.dsl.printer import ATOM, infix

from ..plan import Plan

Text = tuple[str, int]
"""Printed text and how tightly its outermost operator binds."""


class Columns:
    """The tables that a launch passes: which column of a row holds what."""

    def __init__(self, plan: Plan) -> None:
        tensors = [b.name for b in plan.slots[1:] if b.kind == Kind.TENSOR]
        small = [b.name for b in plan.slots[1:] if b.kind not in (Kind.TENSOR, Kind.GLOBAL)]
        self.pointers: tuple[str, ...] = ("w", "g", *tensors, *small)
        self.workspaces = len(plan.workspaces)
        self.lines: tuple[Node, ...] = tuple(n for n in plan.reductions if plan.kinds[n].needs_matrix)
        self.globals: tuple[str, ...] = tuple(b.name for b in plan.slots[1:] if b.kind == Kind.GLOBAL)
        self.known: tuple[Node, ...] = tuple(n for n in plan.reductions if n not in self.lines)

    @property
    def pointer_count(self) -> int:
        """Pointers per tensor: slots, workspaces, then a result for each reduction to rows, columns or planes."""
        return len(self.pointers) + self.workspaces + len(self.lines)

    def place(self, slot: str) -> int:
        """The column of a slot, of a workspace (``%0``) or of a result (``#0``)."""
        if slot.startswith("%"):
            return len(self.pointers) + int(slot[1:])
        if slot.startswith("#"):
            return len(self.pointers) + self.workspaces + int(slot[1:])
        return self.pointers.index(slot)

    @property
    def known_count(self) -> int:
        """Reduced values per tensor, then the global buffers."""
        return len(self.known) + len(self.globals)


class Names:
    """An identifier for every value of a function: the author's where it is free."""

    def __init__(self, plan: Plan, taken: Iterable[str]) -> None:
        self.plan = plan
        self.given: dict[Node, str] = {}
        self.taken = {*taken, *keyword.kwlist}

    def __call__(self, node: Node) -> str:
        """The name of a value, the same whenever it is asked for."""
        if node not in self.given:
            wanted = str(node.value) if node.op == "name" else self.plan.names.get(node, "x")
            if wanted == "x":
                wanted = next(n for n in (f"x{k}" for k in range(1, 10_000)) if n not in self.taken)
            self.given[node] = self.fresh(wanted)
        return self.given[node]

    def fresh(self, wanted: str) -> str:
        """The wanted name, or one like it that is free."""
        while wanted in self.taken:
            wanted += "_"
        self.taken.add(wanted)
        return wanted


class Statements(ABC):
    """The statements of one function, by how often they run; ``stops`` are values that memory holds, and where."""

    def __init__(self, plan: Plan, stops: dict[Node, str], taken: Iterable[str]) -> None:
        self.plan = plan
        self.columns = Columns(plan)
        self.names = Names(plan, taken)
        self.stops = stops
        self.done: dict[Node, Text] = {}
        self.uses: Counter[Node] = Counter()

    @abstractmethod
    def lines(self, n: Node) -> list[str]:
        """Where a value is computed."""

    @property
    @abstractmethod
    def innermost(self) -> list[str]:
        """The statements that run most often: a value read once needs no statement there."""

    @abstractmethod
    def constant(self, value: float, operand: bool) -> str:
        """A number; ``operand`` says that it stands beside an infix operator."""

    @abstractmethod
    def host(self, n: Node) -> str:
        """The name of a host scalar."""

    @abstractmethod
    def single(self, n: Node, index: int) -> str:
        """The name of a value of the table of values that a tensor knows."""

    @abstractmethod
    def loaded(self, n: Node, slot: str) -> str:
        """The name of a value loaded from a slot, a workspace or a result."""

    @abstractmethod
    def declared(self, n: Node, text: str) -> str:
        """The statement that gives a value its name."""

    @abstractmethod
    def form(self, op: Op) -> str:
        """How an operation is written."""

    def count(self, roots: Iterable[Node]) -> None:
        """Note how often each value is read, to name what is read more than once."""
        seen: set[Node] = set()
        stack = list(roots)
        self.uses.update(stack)
        while stack:
            n = stack.pop()
            if n in seen or n in self.stops or self._is_leaf(n):
                continue
            seen.add(n)
            self.uses.update(n.args)
            stack.extend(n.args)

    def is_host(self, n: Node) -> bool:
        """Whether a value is computed before the kernel runs."""
        return self.plan.kinds[n].number

    def _is_leaf(self, n: Node) -> bool:
        return not n.args or self.is_host(n) or OPS[n.op].reduce is not None

    def value(self, root: Node) -> str:
        """The text of a value; the statements it needs come first."""
        stack = [root]
        while stack:
            n = stack[-1]
            missing = [] if n in self.stops or self._is_leaf(n) else [a for a in n.args if a not in self.done]
            stack.extend(reversed(missing))
            if not missing:
                stack.pop()
                if n not in self.done:
                    self.done[n] = self._text(n)
        return self.done[root][0]

    def _text(self, n: Node) -> Text:
        if n in self.stops:
            return self.loaded(n, self.stops[n]), ATOM
        if n.op == "const":
            assert isinstance(n.value, float)
            return self.constant(n.value, operand=False), ATOM
        if self.is_host(n):
            return self.host(n), ATOM
        if n.op == "name":
            return self._leaf(n), ATOM
        if OPS[n.op].reduce is not None:
            return self._reduced(n), ATOM
        text, binding = self._operation(n)
        if self.uses[n] > 1 or n in self.plan.names or self.lines(n) is not self.innermost:
            self.lines(n).append(self.declared(n, text))
            return self.names(n), ATOM
        return text, binding

    def _operation(self, n: Node) -> Text:
        op = OPS[n.op]
        is_infix = bool(op.symbol) and self.form(op) == f"{{0}} {op.symbol} {{1}}"
        typed = any(a.op != "const" for a in n.args)
        parts = [self._operand(a, is_infix and typed) for a in n.args]
        if is_infix:
            return infix(op.name, op.symbol, op.precedence, parts[0], parts[1]), op.precedence
        if op.name == "neg":
            return f"-{tight(parts[0])}", 6
        return self.form(op).format(*(p for p, _ in parts)), ATOM

    def _operand(self, n: Node, is_infix: bool) -> Text:
        if n.op == "const" and n not in self.stops:
            assert isinstance(n.value, float)
            return self.constant(n.value, operand=is_infix), ATOM
        return self.done[n]

    def _reduced(self, n: Node) -> str:
        if n in self.columns.lines:
            return self.loaded(n, f"#{self.columns.lines.index(n)}")
        return self.single(n, self.columns.known.index(n))

    def _leaf(self, n: Node) -> str:
        slot = str(n.value)
        if self.plan.kinds[n] == Kind.GLOBAL:
            return self.single(n, len(self.columns.known) + self.columns.globals.index(slot))
        return self.loaded(n, slot)


def tight(text: Text) -> str:
    """A text in parentheses unless nothing could come between its parts."""
    return text[0] if text[1] >= ATOM else f"({text[0]})"


def how(reduction: Node) -> str:
    """What a reduction does: sum, mean, amax or amin."""
    return OPS[reduction.op].torch


_WIDTH = 116


def folded(line: str) -> list[str]:
    """A line, or as many as it needs to be read, broken at blanks."""
    out: list[str] = []
    indent = " " * (len(line) - len(line.lstrip()) + 4)
    while len(line) > _WIDTH:
        at = line.rfind(" ", len(indent) + 1, _WIDTH)
        if at < 0:
            break
        out.append(line[:at])
        line = indent + line[at + 1 :]
    return [*out, line]


def indented(lines: Iterable[str], depth: int = 1) -> list[str]:
    """Lines moved in; empty ones and those of a preprocessor stay."""
    return ["    " * depth + line if line and not line.startswith("#") else line for line in lines]


def printed(plan: Plan) -> set[Node]:
    """Every value that kernels compute: all but what the host does."""
    ends = {*plan.hosts, *(plan.products.exports if plan.products else ())}
    out: set[Node] = set()
    stack = [*plan.outputs, *(plan.products.inputs if plan.products else ())]
    while stack:
        n = stack.pop()
        if n not in out and n not in ends:
            out.add(n)
            stack.extend(n.args)
    return out


def outputs(plan: Plan) -> dict[str, Node]:
    """The new value of each slot."""
    return dict(zip((b.name for b in plan.slots), plan.outputs, strict=True))


def in_memory(plan: Plan, stage: int) -> dict[Node, str]:
    """What earlier stages have left in memory, and where."""
    out: dict[Node, str] = {}
    new = outputs(plan)
    for s in plan.stages[:stage]:
        out |= {new[w]: w for w in s.writes}
        out |= {n: f"%{plan.workspaces.index(n)}" for n in s.keeps}
    if plan.products and stage >= plan.products_at:
        out |= {n: f"%{plan.workspaces.index(n)}" for n in plan.products.exports}
    return out
