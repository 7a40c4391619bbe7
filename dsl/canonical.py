"""The canonical form of a rule, and the hash by which two texts are known to be one program."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping

from .derived import substitute
from .kinds import FACTS
from .lower import Graph, lower
from .node import Node, name, names
from .ops import OPS, Reduce
from .rule import Assign, If, Rule, Statement

VERSION = "evoptim-canonical-1"
_INLINE = 14  # the size up to which an expression may stand within another one


def live_names(rule: Rule) -> set[str]:
    """The leaves (buffers, hyperparameters, w, g, t) on which the new parameter depends, at once or later."""
    return _live({b.name: b.output for b in rule.buffers}, lower(rule)) - FACTS.keys()


def _live(buffers: Mapping[str, bool], graph: Graph) -> set[str]:
    """Names that the new parameter or an output reads, directly or through buffers, in matrices or elsewhere.

    ``buffers`` says of each one whether it is an output.
    """
    updates = {b: [graph.vector[i], graph.matrix[i]] for i, b in enumerate(buffers, start=1)}
    live = {b for b, output in buffers.items() if output}
    todo = [graph.vector[0], graph.matrix[0], *(node for b in live for node in updates[b])]
    while todo:
        for n in names(todo.pop()) - live:
            live.add(n)
            todo += updates.get(n, [])
    return live


def _numbered(rule: Rule) -> tuple[dict[str, str], Graph, set[str]]:
    """The graph with the live buffers called %0, %1 and so on, those new names, and the live names among them.

    So neither the order of operands nor the choice between laws depends on what buffers are called.
    """
    rename = {b.name: f"%{i}" for i, b in enumerate(rule.buffers)}
    graph = lower(rule, rename)
    live = _live({rename[b.name]: b.output for b in rule.buffers}, graph)
    kept = [n for n in rename if rename[n] in live]
    if len(kept) == len(rename):
        return rename, graph, live
    numbers = {n: f"%{i}" for i, n in enumerate(kept)}
    rename = {n: numbers.get(n, f"%dead{i}") for i, n in enumerate(rename)}
    graph = lower(rule, rename)
    return rename, graph, _live({rename[b.name]: b.output for b in rule.buffers}, graph)


def canonical_hash(rule: Rule) -> str:
    """32 hex digits, equal for rules with the same canonical form, whatever their buffers are called.

    Equal hashes mean equal results bit for bit (with float64 host scalars); the defaults of the hyperparameters
    that matter are part of it, names of buffers and dead code are not.
    """
    return hash_and_live(rule)[0]


def hash_and_live(rule: Rule) -> tuple[str, set[str]]:
    """The canonical hash and the `live_names`, for little more than the price of one of them."""
    rename, graph, live = _numbered(rule)
    h = hashlib.blake2b(VERSION.encode(), digest_size=16)
    for i, buffer in enumerate(rule.buffers, start=1):
        if rename[buffer.name] in live:
            start = f"{buffer.init}:output" if buffer.output else buffer.init
            h.update(f"|{rename[buffer.name]}:{buffer.kind.label}:{start}".encode())
            h.update(graph.vector[i].digest + graph.matrix[i].digest)
    for hyper in sorted(rule.hypers, key=lambda x: x.name):
        if hyper.name in live:
            h.update(f"|{hyper.name}={hyper.default.hex()}".encode())
    h.update(graph.vector[0].digest + graph.matrix[0].digest)
    back = {new: old for old, new in rename.items()}
    return h.hexdigest(), {back.get(n, n) for n in live} - FACTS.keys()


def canonicalize(rule: Rule, drop_dead: bool = True) -> Rule:
    """The canonical form as a rule: folded, ordered, without common subexpressions, dead code and dead buffers.

    Args:
        rule: A valid rule.
        drop_dead: Whether buffers without influence on the parameter go too.
    """
    rename, graph, live = _numbered(rule)
    buffers = tuple(b for b in rule.buffers if rename[b.name] in live or not drop_dead)
    back = {new: name(old) for old, new in rename.items()}
    indices = [0, *(i for i, b in enumerate(rule.buffers, start=1) if b in buffers)]
    vector, matrix = ([substitute(outputs[i], back) for i in indices] for outputs in (graph.vector, graph.matrix))
    return rebuilt(rule.replace(buffers=buffers), vector, matrix)


def rebuilt(rule: Rule, vector: list[Node], matrix: list[Node]) -> Rule:
    """A rule with the buffers of this one whose outputs are these, ``w`` first, for vectors and for matrices."""
    targets = ["w", *(b.name for b in rule.buffers)]
    used = {n for root in (*vector, *matrix) for n in names(root)}
    writer = _Writer({*targets, *used})
    if vector == matrix and not _over_branches(vector):
        body, returns = writer.block(vector, targets)
    else:
        body, returns = _branches(writer, vector, matrix, targets)
    positional = tuple(n for n in rule.positional if n in targets or (n == "t" and n in used))
    natural = (*(b.name for b in rule.buffers), *(("t",) if "t" in used else ()))
    return rule.replace(
        hypers=tuple(h for h in rule.hypers if h.name in used),
        body=tuple(body),
        returns=tuple(returns),
        uses_t="t" in used,
        order=() if positional == natural else positional,
    )


def _over_branches(outputs: list[Node]) -> bool:
    """Whether there is a value over all parameters to which matrices contribute something else."""
    found = (n for root in outputs for n in root.walk() if n.op in OPS)
    return any(OPS[n.op].reduce is Reduce.GLOBAL and len(n.args) > 1 for n in found)


def _branches(
    writer: _Writer, vector: list[Node], matrix: list[Node], targets: list[str]
) -> tuple[list[Statement], tuple[Node, ...]]:
    """The body of a rule that treats matrices differently: first what is the same for all parameters."""
    body = writer.globals(vector, matrix)
    finals = [writer.fresh(f"{t}_new") for t in targets]
    back = dict(zip(finals, targets, strict=True))
    same = [i for i, (v, m) in enumerate(zip(vector, matrix, strict=True)) if v is m]
    apart = [i for i in range(len(targets)) if i not in same]
    common = _without_identities(writer.write([vector[i] for i in same], [finals[i] for i in same]), back)
    then, other = (
        _without_identities(writer.scoped().write([outputs[i] for i in apart], [finals[i] for i in apart]), back)
        for outputs in (matrix, vector)
    )
    body += common
    if apart:
        body.append(If(_last(then, back, writer.temporaries), _last(other, back, writer.temporaries)))
    return body, tuple(name(f if f in {a.target for a in common} else t) for f, t in back.items())


def _without_identities(assigns: list[Assign], back: dict[str, str]) -> tuple[Assign, ...]:
    """Drop ``r_new = r``: the branch leaves that buffer alone."""
    return tuple(a for a in assigns if not (a.target in back and a.value is name(back[a.target])))


def _last(assigns: tuple[Assign, ...], back: dict[str, str], temporaries: set[str]) -> tuple[Assign, ...]:
    """Move the writes of ``x_new`` to the end of a branch and call them ``x``: old values are read before."""
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
        blocks = [self.scoped().write([a], [argument]) for a in node.args]
        self.named[node] = name(result)
        over: list[Statement] = [If(tuple(blocks[1]), tuple(blocks[0]))] if len(blocks) == 2 else [*blocks[0]]
        return [*over, Assign(result, Node(node.op, (name(argument),)))]

    def scoped(self) -> _Writer:
        """A writer for a block: what it names is not known outside, and no name is given twice."""
        child = _Writer(set())
        child.named = dict(self.named)
        child.taken, child.temporaries = self.taken, self.temporaries
        return child

    def write(self, outputs: list[Node], targets: list[str]) -> list[Assign]:
        """Statements that give ``outputs`` the names ``targets``, those last."""
        uses = _uses(outputs)
        statements: list[Assign] = []
        values = [self._write(node, uses, statements) for node in outputs]
        return [*statements, *map(Assign, targets, values)]

    def block(self, outputs: list[Node], targets: list[str]) -> tuple[list[Statement], tuple[Node, ...]]:
        """The same for the carried names of a rule: every old value is read before it is overwritten."""
        back = {self.fresh(f"{t}_new"): t for t in targets}
        assigns = _without_identities(self.write(outputs, [*back]), back)
        return [*_last(assigns, back, self.temporaries)], tuple(map(name, targets))

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
