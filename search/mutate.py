"""Lion's three mutations on programs of one operation per statement.

Insert a statement, delete one, or change one argument. New constants are drawn from N(0, 1), old ones are
multiplied by 2 to the power N(0, 1) (Chen et al. 2023, appendix). A mutation that gives an invalid program is
drawn again. Statements that have become redundant stay: they are stepping stones.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

from evoptim.dsl import OPS, Assign, If, Node, Rule, check, const, live_names, name
from evoptim.dsl.derived import substitute

from .config import Mutation
from .frame import OUTSIDE, is_framed

SEARCH_OPS: tuple[str, ...] = tuple(
    "add sub mul safe_div div max min ema lerp clip abs sign square sqrt safe_sqrt exp safe_log neg reciprocal "
    "tanh arctan power norm rms mean dot cosine cube".split()
)
"""What an inserted statement may do; protected forms stand beside the plain ones."""
MAX_ATTEMPTS = 1000
PATIENCE = 50
"""Draws of one kind of mutation before another kind is drawn: so the weights hold among the children too."""


@dataclass(frozen=True, slots=True)
class Child:
    """A valid mutant: the program, what was done, and how many invalid ones were drawn before it."""

    rule: Rule
    mutation: str
    redraws: int


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
    returns: list[Node] = []
    for node in rule.returns:
        *before, atom = _atoms(node, fresh)
        body += [a for a in before if isinstance(a, Assign)]
        assert isinstance(atom, Node)
        returns.append(atom)
    return rule.replace(body=tuple(body), returns=tuple(returns))


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


def _atoms(node: Node, fresh: Iterator[str]) -> list[Assign | Node]:
    out: list[Assign] = []
    atom = _atom(node, fresh, out)
    return [*out, atom]


class NoMutation(RuntimeError):
    """A program cannot be varied."""


def mutate(rule: Rule, random: Random, config: Mutation) -> Child:
    """A valid child of a flat program.

    Raises:
        NoMutation: No valid child was found in `MAX_ATTEMPTS` draws.
    """
    kinds = ("insert", "delete", "modify")
    weights = [config.insert, config.delete, config.modify]
    kind = ""
    for attempt in range(MAX_ATTEMPTS):
        if attempt % PATIENCE == 0:
            kind = random.choices(kinds, weights)[0]
        program = _Program(rule, random)
        changed = getattr(program, kind)()
        if changed is None or sum(1 for _ in changed.assigns()) > config.max_statements:
            continue
        if is_valid(changed):
            return Child(changed, f"{kind} {program.told}", attempt)
    raise NoMutation(f"no valid mutation of {rule.name!r} in {MAX_ATTEMPTS} draws")


def _applied(op: str, args: tuple[Node, ...]) -> Node:
    """An op on atoms; the negative of a constant is a constant, as it is read back from text."""
    value = args[0].value
    return const(-value) if op == "neg" and isinstance(value, float) else Node(op, args)


def is_valid(rule: Rule) -> bool:
    """Well formed, and the new parameter depends on the gradient."""
    return not check(rule) and "g" in live_names(rule)


class _Program:
    """One program under mutation: its blocks of statements, the frame locked."""

    def __init__(self, rule: Rule, random: Random) -> None:
        self.rule = rule
        self.random = random
        self.framed = is_framed(rule)
        self.told = ""
        self.blocks: list[list[Assign]] = []
        self.tree: list[int | tuple[int, int]] = []  # top-level order: a block, or the two blocks of a branch
        for statement in rule.body[:-1] if self.framed else rule.body:
            self._place(statement)
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

    def _rebuilt(self) -> Rule:
        body: list[Assign | If] = []
        for item in self.tree:
            if isinstance(item, int):
                body += self.blocks[item]
            else:
                body.append(If(tuple(self.blocks[item[0]]), tuple(self.blocks[item[1]])))
        if self.framed:
            body.append(self.rule.body[-1])
        return self.rule.replace(body=tuple(body))

    def _pick(self) -> tuple[list[Assign], int] | None:
        """A random statement: its block and place."""
        places = [(b, i) for b in self.blocks for i in range(len(b))]
        return self.random.choice(places) if places else None

    def _names(self) -> list[str]:
        """Everything a statement may read; what is not yet defined there makes the child invalid."""
        outside = OUTSIDE if self.framed else ()
        assigned = [a.target for b in self.blocks for a in b]
        return list(dict.fromkeys(n for n in (*self.rule.leaves, *assigned) if n not in outside))

    def _argument(self) -> Node:
        names = self._names()
        pick = self.random.randrange(len(names) + 1)  # a new constant is as likely as any one name
        return const(round(self.random.gauss(0, 1), 6)) if pick == len(names) else name(names[pick])

    def insert(self) -> Rule | None:
        """A random operation on random arguments, its result under a new name or in place of an existing one."""
        block = self.random.choice(self.blocks)
        op = OPS[self.random.choice(SEARCH_OPS)]
        value = _applied(op.name, tuple(self._argument() for _ in op.args))
        locked = {"t", *OUTSIDE, *(("w",) if self.framed else ())}
        targets = [n for n in self._names() if n not in locked and n not in self.rule.defaults]
        fresh = next(n for i in itertools.count(1) if (n := f"x{i}") not in targets and n not in self.rule.leaves)
        target = self.random.choice([*targets, fresh])
        block.insert(self.random.randrange(len(block) + 1), Assign(target, value))
        self.told = f"{target} = {op.name}"
        return self._rebuilt()

    def delete(self) -> Rule | None:
        """Remove a statement; where its name would be undefined, one of its arguments stands in for it."""
        place = self._pick()
        if place is None:
            return None
        block, i = place
        gone = block.pop(i)
        self.told = f"{gone.target} = {gone.value.op}"
        rebuilt = self._rebuilt()
        if not gone.value.args or not check(rebuilt):
            return rebuilt
        stand_in = {gone.target: self.random.choice(gone.value.args)}
        for j in range(i, len(block)):
            block[j] = Assign(block[j].target, substitute(block[j].value, stand_in, _applied))
            if block[j].target == gone.target:
                break
        return self._rebuilt()

    def modify(self) -> Rule | None:
        """Change one argument: a constant is rescaled or replaced, a name is replaced."""
        place = self._pick()
        if place is None or not place[0][place[1]].value.args:
            return None
        block, i = place
        statement = block[i]
        arguments = list(statement.value.args)
        k = self.random.randrange(len(arguments))
        old = arguments[k]
        if isinstance(old.value, float) and self.random.random() < 0.5:
            arguments[k] = const(float(f"{old.value * 2 ** self.random.gauss(0, 1):.6g}"))
        else:
            arguments[k] = self._argument()
        if arguments[k] is old:
            return None
        block[i] = Assign(statement.target, _applied(statement.value.op, tuple(arguments)))
        self.told = f"{statement.target}: {old.value} -> {arguments[k].value}"
        return self._rebuilt()
