"""A program under mutation: one operation per statement, in blocks, with the frame locked away."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from random import Random

from evoptim.dsl import OPS, Assign, If, Node, Rule, const, name

from .frame import FRAME, OUTSIDE, is_framed

Place = tuple[list[Assign], int]
"""A statement: its block, and where in it."""


def flatten(rule: Rule, *, free: bool = False) -> Rule:
    """The program with one operation per statement; the frame stays whole unless it is to be ``free``."""
    framed = is_framed(rule) and not free
    taken = set(rule.leaves) | {a.target for a in rule.assigns()} | {o.name for o in OPS} | {"u"}
    fresh = (n for i in itertools.count(1) if (n := f"x{i}") not in taken)
    body: list[Assign | If] = []
    last = rule.body[-1] if framed else None
    for statement in rule.body:
        if statement is last:
            body.append(statement)
        elif isinstance(statement, If):
            then = tuple(a for s in statement.then for a in _split(s, fresh))
            body.append(If(then, tuple(a for s in statement.other for a in _split(s, fresh))))
        else:
            body += _split(statement, fresh)
    before: list[Assign] = []
    returns = tuple(_atom(node, fresh, before) for node in rule.returns)
    return rule.replace(body=(*body, *before), returns=returns)


def _split(statement: Assign, fresh: Iterator[str]) -> list[Assign]:
    out: list[Assign] = []
    value = statement.value
    if value.args:
        value = Node(value.op, tuple(_atom(a, fresh, out) for a in value.args))
    return [*out, Assign(statement.target, value)]


def _atom(node: Node, fresh: Iterator[str], out: list[Assign]) -> Node:
    if not node.args:
        return node
    arguments = tuple(_atom(a, fresh, out) for a in node.args)
    target = next(fresh)
    out.append(Assign(target, Node(node.op, arguments)))
    return name(target)


def applied(op: str, args: tuple[Node, ...]) -> Node:
    """An op on atoms; the negative of a constant is a constant, as it is read back from text."""
    value = args[0].value
    return const(-value) if op == "neg" and isinstance(value, float) else Node(op, args)


class Program:
    """A flat program taken apart for one mutation.

    Args:
        rule: A flat program.
        random: Where all choices are drawn from.
        mate: Gives another program of the population when asked.

    ``blocks`` are the lists of statements that may be edited, those of branches among them; `rebuilt` puts them
    together again. ``told`` says what was done, ``checked`` that `evoptim.dsl.check` has found the result valid.
    """

    def __init__(self, rule: Rule, random: Random, mate: Callable[[], Rule]) -> None:
        self.rule = rule
        self.random = random
        self.mate = mate
        self.framed = frame_last(rule)
        self.told = ""
        self.checked = False
        self.blocks: list[list[Assign]] = []
        self.tree: list[int | tuple[int, int]] = []  # a block, or the two blocks of a branch
        body = rule.body[:-1] if self.framed else rule.body
        if rule.branches:
            for statement in body:
                self._place(statement)
        elif body:
            self.blocks[self._new_block()] += [a for a in body if isinstance(a, Assign)]
        if not self.tree or not isinstance(self.tree[-1], int):
            self._new_block()

    def _new_block(self) -> int:
        self.blocks.append([])
        self.tree.append(len(self.blocks) - 1)
        return len(self.blocks) - 1

    def _place(self, statement: Assign | If) -> None:
        if isinstance(statement, If):
            self.blocks += [list(statement.then), list(statement.other)]
            self.tree.append((len(self.blocks) - 2, len(self.blocks) - 1))
            return
        last = self.tree[-1] if self.tree else None
        block = last if isinstance(last, int) else self._new_block()
        self.blocks[block].append(statement)

    def rebuilt(self) -> Rule:
        """The program with its blocks as they are now."""
        body: list[Assign | If] = []
        for item in self.tree:
            if isinstance(item, int):
                body += self.blocks[item]
            else:
                body.append(If(tuple(self.blocks[item[0]]), tuple(self.blocks[item[1]])))
        if self.framed:
            body.append(self.rule.body[-1])
        return self.rule.replace(body=tuple(body))

    def places(self) -> list[Place]:
        """Every statement that may be edited."""
        return [(b, i) for b in self.blocks for i in range(len(b))]

    def pick(self) -> Place | None:
        """A random statement."""
        places = self.places()
        return self.random.choice(places) if places else None

    def names(self) -> list[str]:
        """Everything a statement may read; what is not yet defined there makes the child invalid."""
        outside = OUTSIDE if self.framed else ()
        assigned = [a.target for b in self.blocks for a in b]
        return list(dict.fromkeys(n for n in (*self.rule.leaves, *assigned) if n not in outside))

    def targets(self) -> list[str]:
        """The names that a statement may assign: none of the signature's numbers, and not the frame's."""
        locked = {"t", *OUTSIDE, *(("w",) if self.framed else ())}
        return [n for n in self.names() if n not in locked and n not in self.rule.defaults]

    def fresh(self, prefix: str = "x") -> str:
        """A name that nothing has."""
        taken = {*self.names(), *self.rule.leaves}
        return next(n for i in itertools.count(1) if (n := f"{prefix}{i}") not in taken)

    def argument(self) -> Node:
        """A name, or a new constant drawn from N(0, 1), which is as likely as any one name."""
        names = self.names()
        pick = self.random.randrange(len(names) + 1)
        return const(round(self.random.gauss(0, 1), 6)) if pick == len(names) else name(names[pick])


def frame_last(rule: Rule) -> bool:
    """Whether a flat program is in the frame; its statements decide, for no flat one has another nested statement."""
    last = rule.body[-1] if rule.body else None
    return isinstance(last, Assign) and last.value is FRAME
