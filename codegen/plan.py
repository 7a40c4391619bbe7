"""What a step of a rule is made of: host scalars, passes over the elements cut at reductions, and small states.

Host scalars are computed once a step in float64. A *stage* is one pass over all elements of all parameters: it loads
some buffers, computes what it needs from them in registers, and either reduces or writes. Everything is computed
again from stored buffers in a later stage, unless the count of bytes says that keeping it is cheaper: a new state is
written as soon as that saves a load, and a temporary is kept in a workspace only where that moves less memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache

from evoptim.dsl import OPS, Buffer, Kind, Node, Reduce, Rule, kind_of, live_statements
from evoptim.dsl.derived import expand, substitute
from evoptim.dsl.infer import buffers_read
from evoptim.dsl.kinds import FACTS
from evoptim.dsl.node import name
from evoptim.dsl.printer import expression

from .products import Products, find_products, fits_kernels

W = Buffer("w")
_MOST_KEPT = 4
_MOST_VALUES = 250
_READABLE = 300


@dataclass(frozen=True, slots=True)
class Stage:
    """One pass over the elements.

    ``reductions`` are computed in it, ``writes`` are the slots whose new values it stores, and ``keeps`` the
    temporaries that it leaves in a workspace. ``loads`` are the slots, gradient and workspaces it reads.
    """

    reductions: tuple[Node, ...]
    loads: tuple[Node, ...]
    writes: tuple[str, ...]
    keeps: tuple[Node, ...]
    computes: tuple[Node, ...]


@dataclass(frozen=True)
class Plan:
    """How a rule's step runs for one class of parameters.

    ``outputs`` holds the new value of each slot that the class has, ``w`` first, in primitive operations.
    """

    rule: Rule
    matrix: bool
    slots: tuple[Buffer, ...]
    outputs: tuple[Node, ...]
    hosts: tuple[Node, ...]
    stages: tuple[Stage, ...]
    names: Mapping[Node, str]
    kinds: Mapping[Node, Kind]
    products: Products | None = None
    products_at: int = 0
    """The stage before which torch computes the products."""

    @property
    def workspaces(self) -> tuple[Node, ...]:
        """The temporaries kept between stages, those that torch makes last."""
        kept = tuple(n for s in self.stages for n in s.keeps)
        return kept + (self.products.exports if self.products else ())

    @property
    def reductions(self) -> tuple[Node, ...]:
        """All reductions, in the order of their stages."""
        return tuple(n for s in self.stages for n in s.reductions)

    @cached_property
    def small(self) -> tuple[str, ...]:
        """Slots with less than one value per element: written after the last stage."""
        return tuple(b.name for b in self.slots[1:] if b.kind != Kind.TENSOR)

    @property
    def flat(self) -> bool:
        """Whether parameters may be seen as vectors: no rows, columns or matrix products."""
        apart = set(self.products.nodes) - set(self.products.exports) if self.products else set[Node]()
        kinds = (*(k for n, k in self.kinds.items() if n not in apart), *(b.kind for b in self.slots))
        return not any(k.needs_matrix for k in kinds)

    @property
    def shared(self) -> bool:
        """Whether values are reduced over all parameters."""
        return any(OPS[n.op].reduce is Reduce.GLOBAL for n in self.reductions)

    @property
    def multiplies(self) -> bool:
        """Whether there are matrix products or transposes."""
        return self.products is not None

    @property
    def fits_kernels(self) -> bool:
        """Whether kernels can compute all but the matrix products."""
        return self.products is None or fits_kernels(self.products, self.kinds)

    def element_bytes(self, parameter: int = 4, state: int = 4) -> int:
        """Bytes that a step moves per element, with parameters and gradients of one size and states of another."""
        return sum(_bytes(s, parameter, state) for s in self.stages)

    def least_bytes(self, parameter: int = 4, state: int = 4) -> int:
        """Bytes per element if everything were read and written once."""
        loads = {n for s in self.stages for n in s.loads} - set(self.workspaces)
        writes = [w for s in self.stages for w in s.writes]
        return _bytes(Stage((), tuple(loads), tuple(writes), (), ()), parameter, state)

    @property
    def state_bytes(self) -> int:
        """Bytes of state per element in float32."""
        return 4 * sum(b.kind == Kind.TENSOR for b in self.slots[1:])

    @property
    def flops(self) -> int:
        """Operations per element of a step."""
        return sum(len(s.computes) for s in self.stages)

    @property
    def text(self) -> str:
        """The plan for a reader."""
        return "\n".join(_describe(self))


def _bytes(stage: Stage, parameter: int, state: int) -> int:
    read = sum(parameter if n.value in ("w", "g") else state for n in stage.loads)
    written = sum(parameter if s == "w" else state for s in stage.writes)
    return read + written + state * len(stage.keeps)


@lru_cache(maxsize=1024)
def plan(rule: Rule, matrix: bool = False) -> Plan:
    """The plan of a valid rule for matrices, or for the other parameters.

    Dead code and dead buffers are no part of it.
    """
    rule = live_statements(rule)
    env, names = _interpreted(rule, matrix)
    used = buffers_read(rule, matrix)
    slots = (W, *(b for b in rule.buffers if b.name in used))
    outputs = tuple(env[b.name] for b in slots)
    leaves = {n: t.kind for n, t in rule.leaves.items()}
    kinds: dict[Node, Kind] = {}
    for root in outputs:
        kind_of(root, leaves, kinds)
    hosts = _hosts(outputs, kinds)
    products = find_products(outputs, kinds)
    stages, at = _stages(slots, outputs, kinds, products)
    return Plan(rule, matrix, slots, outputs, hosts, stages, names, kinds, products, at)


def class_plans(rule: Rule) -> dict[str, Plan]:
    """The plans of a rule by class of parameters: ``vector``, and ``matrix`` where it differs."""
    return {"matrix" if matrix else "vector": plan(rule, matrix) for matrix in rule.classes}


def _interpreted(rule: Rule, matrix: bool) -> tuple[dict[str, Node], dict[Node, str]]:
    """The new value of every slot in primitive operations, and what the author calls the values on the way."""
    env: dict[str, Node] = {n: name(n) for n in (*rule.leaves, *FACTS)}
    names: dict[Node, str] = {}
    for assign in rule.straight(matrix):
        value = substitute(expand(assign.value), env)
        env[assign.target] = value
        if value.args:
            names.setdefault(value, assign.target)
    slots = ("w", *(b.name for b in rule.buffers))
    absent = {b.name for b in rule.buffers if b.kind in (Kind.ROW, Kind.COL)} if not matrix else set[str]()
    return {
        s: name(s) if s in absent else substitute(expand(r), env) for s, r in zip(slots, rule.returns, strict=True)
    }, names


def _hosts(outputs: Iterable[Node], kinds: Mapping[Node, Kind]) -> tuple[Node, ...]:
    """The maximal expressions that are numbers before any tensor is touched; constants stand in the code."""
    found: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = list(outputs)
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if kinds[node].number:
            if node.op != "const":
                found[node] = None
        else:
            stack.extend(reversed(node.args))
    return tuple(found)


def _reduces(n: Node) -> bool:
    return n.op in OPS and OPS[n.op].reduce is not None


def _levels(outputs: Iterable[Node], kinds: Mapping[Node, Kind], products: Products | None) -> dict[Node, int]:
    """The stage in which each value can be computed: one later than what it reduces, and than what torch multiplies."""
    level: dict[Node, int] = {}

    def enter(root: Node) -> None:
        for n in root.walk():
            if n not in level:
                above = max((level[a] for a in n.args), default=0)
                level[n] = above + 1 if _reduces(n) else above

    if products:
        for n in products.inputs:
            enter(n)
        kept = [level[n] + 1 for n in products.tensors(kinds)]
        level |= dict.fromkeys(products.nodes, max([0, *kept, *(level[n] for n in products.inputs)]))
    for root in outputs:
        enter(root)
    return level


def _stages(
    slots: tuple[Buffer, ...], outputs: tuple[Node, ...], kinds: Mapping[Node, Kind], products: Products | None
) -> tuple[tuple[Stage, ...], int]:
    """The stages, and before which of them torch multiplies matrices."""
    level = _levels(outputs, kinds, products)
    apart = set(products.nodes) if products else set[Node]()
    reductions = [n for n in level if _reduces(n) and n not in apart]
    tensors = {b.name: o for b, o in zip(slots, outputs, strict=True) if b.kind == Kind.TENSOR}
    last = max([level[o] for o in tensors.values()] + [level[n] - 1 for n in reductions])
    work = _Work(tensors, [[n for n in reductions if level[n] == k + 1] for k in range(last + 1)], kinds)
    at = 0
    if products:
        at = level[products.nodes[0]]
        work.leave_to_torch(products, at, level)
    if len(level) <= _MOST_VALUES:
        work.improve()
    return work.stages(), at


class _Work:
    """Stages under construction: which values are stored early, and where."""

    def __init__(self, tensors: Mapping[str, Node], reductions: list[list[Node]], kinds: Mapping[Node, Kind]) -> None:
        self.tensors = tensors
        self.reductions = reductions
        self.kinds = kinds
        self.last = len(reductions) - 1
        self.early: dict[str, int] = {}  # slot -> stage that writes its new value, if not the last one
        self.kept: dict[Node, int] = {}  # temporary -> stage that leaves it in a workspace
        self.made: tuple[Node, ...] = ()  # what torch leaves in a workspace
        self.made_at = 0
        self.read_by_torch: frozenset[Node] = frozenset()

    def leave_to_torch(self, products: Products, at: int, level: Mapping[Node, int]) -> None:
        """Have what torch reads in memory before a stage: new states are written early, other values kept."""
        self.made, self.made_at = products.exports, at
        self.read_by_torch = frozenset(n for n in products.inputs if n.op == "name")
        for n in products.tensors(self.kinds):
            slot = next((s for s, new in self.tensors.items() if new is n and s != "w"), "")
            if not slot or slot in self.early or self._write_early((slot,), level[n]) is None:
                self.kept[n] = level[n]

    def improve(self) -> None:
        """Store what saves bytes, the best first, as long as anything does."""
        while True:
            best, saved = None, 0
            now = self._cost()
            for change in self._changes():
                undo = change()
                if undo is None:
                    continue
                gain = now - self._cost()
                undo()
                if gain > saved:
                    best, saved = change, gain
            if best is None:
                return
            best()

    def _cost(self) -> int:
        return sum(_bytes(s, 4, 4) for s in self.stages())

    def _changes(self) -> Iterator[Callable[[], Callable[[], None] | None]]:
        for stage in range(self.last):
            computed = self._closure(stage)
            open_ = [s for s, n in self.tensors.items() if s not in ("w", *self.early) and n is not name(s)]
            new = [s for s in open_ if self.tensors[s] in computed]
            for slot in new:
                yield lambda s=(slot,), k=stage: self._write_early(s, k)
            if len(new) > 1:
                yield lambda s=tuple(new), k=stage: self._write_early(s, k)
            if len(self.kept) < _MOST_KEPT:
                for node in computed:
                    if node not in self.kept and self._can_be_kept(node):
                        yield lambda n=node, k=stage: self._keep(n, k)

    def _can_be_kept(self, node: Node) -> bool:
        is_condition = node.op in OPS and OPS[node.op].comparison
        return bool(node.args) and self.kinds[node] == Kind.TENSOR and not is_condition

    def _write_early(self, slots: tuple[str, ...], stage: int) -> Callable[[], None] | None:
        """Write slots in a stage, if nothing later reads what they held before; returns how to undo that."""
        self.early |= dict.fromkeys(slots, stage)

        def undo() -> None:
            for slot in slots:
                del self.early[slot]

        later = range(stage + 1, self.last + 1)
        old = stage < self.made_at and any(name(s) in self.read_by_torch for s in slots)
        if old or any(name(s) in self._closure(k) for s in slots for k in later):
            undo()
            return None
        return undo

    def _keep(self, node: Node, stage: int) -> Callable[[], None]:
        self.kept[node] = stage

        def undo() -> None:
            del self.kept[node]

        return undo

    def _stops(self, stage: int) -> dict[Node, Node]:
        """What is in memory already when a stage begins: the value, and the buffer that holds it."""
        out = {self.tensors[s]: name(s) for s, k in self.early.items() if k < stage}
        out |= {n: n for n in self.made if self.made_at <= stage}
        return out | {n: n for n, k in self.kept.items() if k < stage}

    def _wanted(self, stage: int) -> list[Node]:
        """The values that a stage is for, elements only."""
        roots = [n.args[0] for n in self.reductions[stage]]
        roots += [self.tensors[s] for s, k in self.early.items() if k == stage]
        roots += [n for n, k in self.kept.items() if k == stage]
        if stage == self.last:
            roots += [n for s, n in self.tensors.items() if s not in self.early and n is not name(s)]
        return roots

    def _closure(self, stage: int) -> dict[Node, None]:
        """Every value with entries per element that a stage touches: loaded, computed or found in memory."""
        stops = self._stops(stage)
        found: dict[Node, None] = {}
        stack = [*self._wanted(stage)]
        while stack:
            n = stack.pop()
            if n in found or self.kinds[n].number:
                continue
            found[n] = None
            if n not in stops and not _reduces(n):
                stack.extend(n.args)
        return found

    def _loads(self, stage: int) -> list[Node]:
        stops = self._stops(stage)
        out: dict[Node, None] = {}
        for n in self._closure(stage):
            if n in stops:
                out[stops[n]] = None
            elif n.op == "name" and self.kinds[n] == Kind.TENSOR:
                out[n] = None
        return [*out]

    def stages(self) -> tuple[Stage, ...]:
        """The stages as they stand."""
        return tuple(map(self._stage, range(self.last + 1)))

    def _stage(self, k: int) -> Stage:
        stops = self._stops(k)
        closure = self._closure(k)
        computes = [
            n
            for root in self._wanted(k)
            for n in root.walk()
            if n in closure and n.args and n not in stops and not _reduces(n)
        ]
        writes = [s for s, at in self.early.items() if at == k]
        if k == self.last:
            writes += [s for s, n in self.tensors.items() if s not in self.early and n is not name(s)]
        return Stage(
            reductions=tuple(self.reductions[k]),
            loads=tuple(self._loads(k)),
            writes=tuple(writes),
            keeps=tuple(n for n, at in self.kept.items() if at == k),
            computes=tuple(dict.fromkeys(computes)),
        )


def _describe(p: Plan) -> Iterator[str]:
    kind = "matrices" if p.matrix else "vectors" if len(p.rule.classes) > 1 else "all parameters"
    yield f"{p.rule.name}, {kind}: {len(p.stages)} launches a step"
    yield (
        f"bytes per parameter: {p.element_bytes()} moved in float32 (each buffer once: {p.least_bytes()}), "
        f"{p.element_bytes(2)} with bfloat16 parameters; {p.state_bytes} of state; {p.flops} operations"
    )
    if p.hosts:
        yield "on the host, in float64:"
        yield from (f"  {_called(p, n)}{expression(n)}" for n in p.hosts if n.args and n.size <= _READABLE)
    for k, stage in enumerate(p.stages, start=1):
        if p.products and p.products_at == k - 1:
            read = ", ".join(_short(p, n) for n in p.products.inputs)
            yield f"torch: {sum(n.op == 'matmul' for n in p.products.nodes)} matrix products of {read}"
        loads = ", ".join(_short(p, n) for n in stage.loads)
        yield f"stage {k}: loads {loads or 'nothing'}"
        yield from (f"  reduces {_called(p, n)}{n.op}({_short(p, n.args[0])})" for n in stage.reductions)
        yield from (f"  keeps {_short(p, n)}" for n in stage.keeps)
        if stage.writes:
            yield f"  writes {', '.join(stage.writes)}"
    if p.small:
        yield f"then: {', '.join(p.small)}"


def _called(p: Plan, node: Node) -> str:
    return f"{p.names[node]} = " if node in p.names else ""


def _short(p: Plan, node: Node) -> str:
    """A value by the author's name where it has one."""
    if node in p.names:
        return p.names[node]
    text = expression(node) if node.size <= _READABLE else f"{node.op}(...)"
    return text if len(text) <= 60 else f"{text[:57]}..."
