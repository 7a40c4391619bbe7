"""The canonical form of a rule, and the hash by which two texts are known to be one program."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence

from .derived import substitute
from .lower import Graph, lower
from .node import Node, name
from .ops import OPS, Reduce
from .rule import Assign, Buffer, If, Rule, Statement

VERSION = "evoptim-canonical-1"
_INLINE = 14  # the size up to which an expression may stand within another one


def live_names(rule: Rule) -> set[str]:
    """The leaves (buffers, hyperparameters, w, g, t) on which the new parameter depends, at once or later."""
    graph = lower(rule)
    return _live(rule, graph.vector) | _live(rule, graph.matrix)


def _live(rule: Rule, outputs: tuple[Node, ...]) -> set[str]:
    """Names read by the new parameter, directly or through buffers."""
    update = {b.name: node for b, node in zip(rule.buffers, outputs[1:], strict=False)}
    live: set[str] = set()
    todo = [outputs[0], *outputs[1 + len(rule.buffers) :]]
    while todo:
        for n in todo.pop().walk():
            if n.op == "name" and n.value not in live:
                live.add(str(n.value))
                if n.value in update:
                    todo.append(update[str(n.value)])
    return live


def canonical_hash(rule: Rule) -> str:
    """32 hex digits, equal for rules with the same canonical form, whatever their buffers are called.

    Equal hashes mean equal results bit for bit (with float64 host scalars); the defaults of the hyperparameters
    that matter are part of it, names of buffers and dead code are not.
    """
    rename = {b.name: f"%{i}" for i, b in enumerate(rule.buffers)}
    graph = lower(rule, rename)
    buffers = [Buffer(rename[b.name], b.kind, b.init) for b in rule.buffers]
    live = _live_pair(buffers, graph)
    used = [b for b in buffers if b.name in live]
    if used != buffers[: len(used)]:  # number the live buffers without gaps
        kept = [b for b in rule.buffers if rename[b.name] in live]
        rename |= {b.name: f"%{i}" for i, b in enumerate(kept)}
        rename |= {b.name: f"%dead{i}" for i, b in enumerate(rule.buffers) if b not in kept}
        graph = lower(rule, rename)
        buffers = [Buffer(rename[b.name], b.kind, b.init) for b in rule.buffers]
        live = _live_pair(buffers, graph)
    h = hashlib.blake2b(VERSION.encode(), digest_size=16)
    for i, buffer in enumerate(buffers):
        if buffer.name in live:
            h.update(f"|{buffer.name}:{buffer.kind.label}:{buffer.init}".encode())
            h.update(graph.vector[i + 1].digest + graph.matrix[i + 1].digest)
    for hyper in sorted(rule.hypers, key=lambda x: x.name):
        if hyper.name in live:
            h.update(f"|{hyper.name}={hyper.default.hex()}".encode())
    h.update(graph.vector[0].digest + graph.matrix[0].digest)
    return h.hexdigest()


def _live_pair(buffers: Sequence[Buffer], graph: Graph) -> set[str]:
    stub = Rule("r", "", tuple(buffers), (), (), ())
    live = _live(stub, graph.vector)
    return live if graph.uniform else live | _live(stub, graph.matrix)


def canonicalize(rule: Rule, drop_dead: bool = True) -> Rule:
    """The canonical form as a rule: folded, ordered, without common subexpressions, dead code and dead buffers.

    Args:
        drop_dead: Whether buffers without influence on the parameter go too.
    """
    graph = lower(rule)
    live = _live(rule, graph.vector) | _live(rule, graph.matrix) if drop_dead else set(rule.leaves)
    buffers = tuple(b for b in rule.buffers if b.name in live)
    indices = [0, *(i + 1 for i, b in enumerate(rule.buffers) if b.name in live)]
    targets = ["w", *(b.name for b in buffers)]
    writer = _Writer(set(rule.leaves))
    vector, matrix = [graph.vector[i] for i in indices], [graph.matrix[i] for i in indices]
    body: list[Statement] = []
    if vector == matrix:
        block, returns = writer.block(vector, targets, 0)
        body += block
    else:
        body += writer.globals(vector, matrix)
        finals = [writer.fresh(f"{t}_new") for t in targets]
        then, _ = writer.block(matrix, finals, 0, returned=False)
        other, _ = writer.block(vector, finals, 0, returned=False)
        unchanged = {f: t for f, t in zip(finals, targets, strict=True)}
        body.append(If(_without_identities(then, unchanged), _without_identities(other, unchanged)))
        body, returns = _rename_back(body, finals, targets, writer.temporaries)
    used = {n for s in (*body,) for n in _reads(s)} | {str(n.value) for r in returns for n in r.walk() if n.op == "name"}
    positional = tuple(n for n in rule.positional if n in used or n in {b.name for b in buffers})
    natural = (*(b.name for b in buffers), *(("t",) if "t" in used else ()))
    return rule.replace(
        buffers=buffers,
        hypers=tuple(h for h in rule.hypers if h.name in used),
        body=tuple(body),
        returns=tuple(returns),
        uses_t="t" in used,
        order=() if positional == natural else positional,
    )


def _reads(statement: Statement) -> Iterable[str]:
    assigns = (*statement.then, *statement.other) if isinstance(statement, If) else (statement,)
    for assign in assigns:
        yield from (str(n.value) for n in assign.value.walk() if n.op == "name")


def _without_identities(assigns: list[Assign], names: dict[str, str]) -> tuple[Assign, ...]:
    """Drop ``r_new = r``: the branch leaves that buffer alone."""
    return tuple(a for a in assigns if not (a.target in names and a.value is name(names[a.target])))


def _rename_back(
    body: list[Statement], finals: list[str], targets: list[str], temporaries: set[str]
) -> tuple[list[Statement], tuple[Node, ...]]:
    """Move the writes of ``x_new`` to the end of each branch and call them ``x``: old values are read before."""
    out: list[Statement] = []
    back = dict(zip(finals, targets, strict=True))
    for statement in body:
        if isinstance(statement, If):
            statement = If(_last(statement.then, back, temporaries), _last(statement.other, back, temporaries))
        out.append(statement)
    return out, tuple(name(t) for t in targets)


def _last(assigns: tuple[Assign, ...], back: dict[str, str], temporaries: set[str]) -> tuple[Assign, ...]:
    first = [a for a in assigns if a.target not in back]
    finals = _sequential([a for a in assigns if a.target in back], back)
    return tuple(_forward([*first, *finals], temporaries))


def _sequential(finals: list[Assign], back: dict[str, str]) -> list[Assign]:
    """Order simultaneous assignments so that none reads a name that an earlier one has overwritten.

    Those that form a cycle are all computed under their ``_new`` names first.
    """
    pending, out = list(finals), list[Assign]()
    while pending:
        ready = next((a for a in pending if not _read_by_others(a, pending, back)), None)
        if ready is None:
            return [*out, *pending, *(Assign(back[a.target], name(a.target)) for a in pending)]
        pending.remove(ready)
        out.append(Assign(back[ready.target], ready.value))
    return out


def _read_by_others(assign: Assign, pending: list[Assign], back: dict[str, str]) -> bool:
    return any(_mentions(p.value, back[assign.target]) for p in pending if p is not assign)


def _forward(assigns: list[Assign], temporaries: set[str]) -> list[Assign]:
    """Turn ``x1 = f(m); ...; m = x1`` into ``m = f(m); ...`` where nothing between reads the old ``m``."""
    for end, alias in enumerate(assigns):
        temporary = str(alias.value.value)
        start = next((i for i, a in enumerate(assigns) if a.target == temporary), None)
        if alias.value.op != "name" or temporary not in temporaries or start is None:
            continue
        rest = [*assigns[start + 1 : end], *assigns[end + 1 :]]
        if not any(_mentions(a.value, alias.target) or a.target == alias.target for a in rest):
            new = {temporary: name(alias.target)}
            head = [*assigns[:start], Assign(alias.target, assigns[start].value)]
            return _forward([*head, *(Assign(a.target, substitute(a.value, new)) for a in rest)], temporaries)
    return assigns


def _mentions(node: Node, identifier: str) -> bool:
    return any(n.op == "name" and n.value == identifier for n in node.walk())


class _Writer:
    """Writes graph outputs as statements: shared and long subexpressions get names, the rest stands inline."""

    def __init__(self, taken: set[str]) -> None:
        self.taken = set(taken) | {row.name for row in OPS}
        self.named: dict[Node, Node] = {}
        self.temporaries: set[str] = set()

    def fresh(self, wanted: str) -> str:
        """A name that nothing else has."""
        wanted = candidate = wanted[:56]  # names have 64 characters at most
        k = 1
        while candidate in self.taken:
            k += 1
            candidate = f"{wanted}{k}"
        self.taken.add(candidate)
        return candidate

    def _temporary(self) -> str:
        k = 1
        while f"x{k}" in self.taken:
            k += 1
        self.taken.add(f"x{k}")
        self.temporaries.add(f"x{k}")
        return f"x{k}"

    def globals(self, vector: list[Node], matrix: list[Node]) -> list[Statement]:
        """Statements for the values over all parameters of a rule with branches: they stand before the branch."""
        body: list[Statement] = []
        for root in dict.fromkeys((*vector, *matrix)):
            for n in root.walk():
                row = OPS.get(n.op)
                if row is not None and row.reduce is Reduce.GLOBAL and n not in self.named:
                    body += self._global(n)
        return body

    def _global(self, node: Node) -> list[Statement]:
        argument, result = self._temporary(), self._temporary()
        blocks = [self.block([a], [argument], 1, returned=False)[0] for a in node.args]
        self.named[node] = name(result)
        over: list[Statement] = [If(tuple(blocks[1]), tuple(blocks[0]))] if len(blocks) == 2 else [*blocks[0]]
        return [*over, Assign(result, Node(node.op, (name(argument),)))]

    def _scoped(self) -> _Writer:
        child = _Writer(self.taken)
        child.named = dict(self.named)
        child.taken, child.temporaries = self.taken, self.temporaries
        return child

    def block(
        self, outputs: list[Node], targets: list[str], kept: int, returned: bool = True
    ) -> tuple[list[Assign], tuple[Node, ...]]:
        """Statements that give ``outputs`` the names ``targets``; the first ``kept`` are variables."""
        scope = self if returned else self._scoped()
        uses = _uses(outputs)
        statements: list[Assign] = []
        for node, target in zip(outputs[:kept], targets[:kept], strict=True):
            value = scope._write(node, uses, statements)
            statements.append(Assign(target, value))
            if node.args:
                scope.named[node] = name(target)
        finals = [
            Assign(target, scope._write(node, uses, statements))
            for node, target in zip(outputs[kept:], targets[kept:], strict=True)
        ]
        if not returned:
            return [*statements, *finals], ()
        placeholders = {scope.fresh(f"{a.target}_new"): a for a in finals}
        back = {new: a.target for new, a in placeholders.items()}
        moved = [Assign(new, a.value) for new, a in placeholders.items() if a.value is not name(a.target)]
        ordered = [*statements, *_sequential(moved, back)]
        return _forward(ordered, self.temporaries), tuple(name(t) for t in targets[kept:])

    def _write(self, root: Node, uses: Counter[Node], out: list[Assign]) -> Node:
        """The expression for a node, naming shared and long parts by statements appended to ``out``."""
        written: dict[Node, Node] = {}
        stack = [root]
        while stack:
            n = stack[-1]
            missing = [] if n in self.named else [a for a in n.args if a not in written]
            stack.extend(reversed(missing))
            if not missing:
                stack.pop()
                written[n] = written.get(n) or self._part(n, written, uses, out, top=n is root)
        return written[root]

    def _part(self, n: Node, written: dict[Node, Node], uses: Counter[Node], out: list[Assign], top: bool) -> Node:
        """The same for a node whose arguments are written."""
        if n in self.named:
            return self.named[n]
        if not n.args:
            return n
        node = Node(n.op, tuple(written[a] for a in n.args))
        if uses[n] > 1 or (not top and node.size > _INLINE):
            temporary = self._temporary()
            out.append(Assign(temporary, node))
            self.named[n] = name(temporary)
            return self.named[n]
        return node


def _uses(outputs: list[Node]) -> Counter[Node]:
    """How many distinct places read each node."""
    uses: Counter[Node] = Counter(outputs)
    seen: set[Node] = set()
    for root in outputs:
        for n in root.walk():
            if n not in seen:
                seen.add(n)
                uses.update(n.args)
    return uses
