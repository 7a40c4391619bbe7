"""Rule -> dataflow graph: what each output is as one expression of the inputs, in canonical form.

Hash-consing makes common subexpressions one node and reachability removes dead code, so both passes are free.
A rule with ``if matrix:`` has one set of outputs for matrices and one for the other parameters.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .check import reduction_of
from .kinds import Kind
from .laws import simplify
from .node import Node, name
from .ops import OPS, Reduce
from .rule import Assign, If, Rule

Pair = tuple[Node, Node]
"""What a name stands for: for parameters that are no matrices, and for matrices."""


@dataclass(frozen=True, slots=True)
class Graph:
    """Outputs of a rule in signature order, ``w`` first: for vectors and for matrices.

    A value over all parameters has one argument where both classes agree, else two (vectors, matrices).
    """

    vector: tuple[Node, ...]
    matrix: tuple[Node, ...]

    @property
    def uniform(self) -> bool:
        """Whether matrices are treated as everything else."""
        return self.vector == self.matrix


def lower(rule: Rule, rename: Mapping[str, str] | None = None, keep: tuple[str, ...] = ()) -> Graph:
    """The dataflow graph of a valid rule.

    Args:
        rule: The rule.
        rename: Names the leaves get in the graph.
        keep: Variables whose final values are appended to the outputs.
    """
    rename = rename or {}
    env: dict[str, Pair] = {n: (leaf, leaf) for n in rule.leaves for leaf in (name(rename.get(n, n)),)}
    for statement in rule.body:
        if isinstance(statement, If):
            vector = _branch(statement.other, env)
            matrix = _branch(statement.then, env)
            for n in vector | matrix:
                before = env.get(n, _NONE)
                env[n] = vector.get(n, before)[0], matrix.get(n, before)[1]
        else:
            env[statement.target] = _lower(statement.value, env)
    outputs = [_lower(r, env) for r in rule.returns] + [env[k] for k in keep]
    slots = [Kind.TENSOR, *(b.kind for b in rule.buffers)]
    factored = (Kind.ROW, Kind.COL)
    vector = [
        name(rename.get(rule.buffers[i - 1].name, rule.buffers[i - 1].name))
        if i < len(slots) and slots[i] in factored
        else pair[0]
        for i, pair in enumerate(outputs)
    ]
    return Graph(tuple(vector), tuple(pair[1] for pair in outputs))


_NONE: Pair = (Node("undefined"), Node("undefined"))


def _branch(assigns: tuple[Assign, ...], env: dict[str, Pair]) -> dict[str, Pair]:
    local = dict(env)
    written: dict[str, Pair] = {}
    for assign in assigns:
        local[assign.target] = written[assign.target] = _lower(assign.value, local)
    return written


def _lower(node: Node, env: dict[str, Pair]) -> Pair:
    if node.op == "name":
        return env[str(node.value)]
    if node.op == "const":
        return node, node
    args = [_lower(a, env) for a in node.args]
    if _is_global(node.op) and any(v is not m for v, m in args):
        return _lower_global(node.op, args)
    vector = simplify(node.op, tuple(a[0] for a in args))
    if all(v is m for v, m in args):
        return vector, vector
    return vector, simplify(node.op, tuple(a[1] for a in args))


def _is_global(op: str) -> bool:
    row = OPS[op]
    return row.reduce is Reduce.GLOBAL or (bool(row.derived) and reduction_of(row) is Reduce.GLOBAL)


def _lower_global(op: str, args: list[Pair]) -> Pair:
    """Pair the arguments of the primitive reduction inside ``op``: what stands around it is the same for both."""
    vector = simplify(op, tuple(a[0] for a in args))
    matrix = simplify(op, tuple(a[1] for a in args))
    outer_v, outer_m = _outermost_global(vector), _outermost_global(matrix)
    out = _replace(vector, outer_v, Node(outer_v.op, (outer_v.args[0], outer_m.args[0])))
    return out, out


def _outermost_global(root: Node) -> Node:
    return [n for n in root.walk() if n.op in OPS and OPS[n.op].reduce is Reduce.GLOBAL][-1]


def _replace(root: Node, old: Node, new: Node) -> Node:
    done: dict[Node, Node] = {}
    for n in root.walk():
        if n is old:
            done[n] = new
        elif n.args:
            done[n] = Node(n.op, tuple(done[a] for a in n.args))
        else:
            done[n] = n
    return done[root]
