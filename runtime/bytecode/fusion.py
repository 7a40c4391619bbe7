"""Which operations of a section become one superinstruction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Set
from typing import TypeAlias

from evoptim.dsl import OPS, Node

from .opcodes import patterns

Fused: TypeAlias = tuple[str, tuple[Node, ...]]
"""An operation or superinstruction, and its arguments."""

Form: TypeAlias = Callable[[tuple[Node, ...]], str]
"""The operand form of some arguments."""

Match: TypeAlias = tuple[dict[str, Node], frozenset[Node]]
"""What the names of a pattern stand for, and the values that vanish."""


def fuse(nodes: Collection[Node], uses: Mapping[Node, int], form: Form) -> dict[Node, Fused]:
    """How to compute values, in order; some of them vanish into their only reader.

    Args:
        nodes: The values of a section, arguments first.
        uses: How often each one is read, from whatever section.
        form: Says the form in which an instruction would take its arguments.
    """
    once = {n for n in nodes if uses[n] == 1}
    out: dict[Node, Fused] = {}
    gone: set[Node] = set()
    for n in reversed([*nodes]):
        if n not in gone:
            out[n], absorbed = _instruction(n, once, form)
            gone |= absorbed
    return dict(reversed(out.items()))


def _instruction(n: Node, once: Set[Node], form: Form) -> tuple[Fused, frozenset[Node]]:
    for pattern in patterns():
        if pattern.tree.op == n.op:
            for bound, absorbed in _matches(pattern.tree, n, ({}, frozenset()), once):
                arguments = tuple(bound[a] for a in pattern.arguments)
                if form(arguments) in pattern.forms:
                    return (pattern.name, arguments), absorbed
    return (n.op, n.args), frozenset()


def _matches(tree: Node, n: Node, so_far: Match, once: Set[Node]) -> Iterator[Match]:
    """The ways to read ``n``, and then its arguments if they are read but ``once``, as a pattern."""
    bound, absorbed = so_far
    if tree.op == "const":
        if tree is n:
            yield so_far
    elif tree.op == "name":
        if bound.get(str(tree.value), n) is n:
            yield bound | {str(tree.value): n}, absorbed
    elif tree.op == n.op:
        orders = (n.args, n.args[::-1]) if OPS[n.op].commutative and n.args[0] is not n.args[1] else (n.args,)
        for arguments in orders:
            inner = frozenset(a for t, a in zip(tree.args, arguments, strict=True) if t.args)
            if inner <= once:
                yield from _all_match(tree.args, arguments, (bound, absorbed | inner), once)


def _all_match(trees: tuple[Node, ...], nodes: tuple[Node, ...], so_far: Match, once: Set[Node]) -> Iterator[Match]:
    if not trees:
        yield so_far
        return
    for found in _matches(trees[0], nodes[0], so_far, once):
        yield from _all_match(trees[1:], nodes[1:], found, once)
