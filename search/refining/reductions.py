"""The programs that are a little shorter than a given one: without a statement, an operation, a constant, a buffer.

What algebra offers is among them too: forms that hold but for rounding, and forms that only may be as good. Whether
one is as good is for training to say.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from evoptim.dsl import (
    OPS,
    Assign,
    If,
    Kind,
    Node,
    Rule,
    canonical_hash,
    check,
    const,
    live_names,
    name,
    simplified_by_sympy,
    simplify_rule,
)
from evoptim.dsl.derived import substitute
from evoptim.dsl.printer import expression, number
from evoptim.dsl.rule import with_values

from ..proposing.frame import FRAME, OUTSIDE, core_of, is_framed, tidy, with_frame
from ..proposing.program import flatten

CLOSE = 1.25
"""How far apart two constants may be, as a ratio, that are tried as one."""
_TRIVIAL = (0.0, 1.0)
_LONGEST = 64
"""Characters of a part that is shown."""

Edit = tuple[str, str, Rule]
"""What stood there, what stands there now (empty: nothing), and the program with that."""


@dataclass(frozen=True, slots=True)
class Reduction:
    """A shorter program, in canonical form; ``after`` is empty where ``before`` is left out."""

    rule: Rule
    digest: str
    before: str
    after: str


def size(rule: Rule) -> tuple[int, int, int]:
    """How long a program is: operations, buffers and hyperparameters; then constants; then their digits."""
    flat = flatten(rule)
    constants = _constants(flat)
    parts = sum(bool(a.value.args) for a in flat.assigns()) + len(rule.buffers) + len(rule.hypers)
    return parts, len(constants), sum(len(number(c).strip("-0.").replace(".", "")) for c in constants)


def reductions(rule: Rule) -> list[Reduction]:
    """Every shorter program that is one edit away, the shortest first.

    None of them loses the gradient, the learning rate or the weight decay.

    Args:
        rule: A valid program, framed or free, as `tidy` leaves it.
    """
    flat = flatten(rule)
    edits = itertools.chain(_laws(rule), _buffers(flat), _operations(flat), _dropped(flat), _numbers(flat))
    found: dict[str, Reduction] = {}
    limit, needed = size(rule), ({"g", *OUTSIDE} & live_names(rule))
    for before, after, edited in edits:
        if check(edited):
            continue
        short = tidy(edited)
        if size(short) < limit and needed <= live_names(short):
            digest = canonical_hash(short)
            found.setdefault(digest, Reduction(short, digest, before, after))
    return sorted(found.values(), key=lambda r: size(r.rule))


def _laws(rule: Rule) -> Iterator[Edit]:
    """What algebra makes of it, all steps of a grade together."""
    framed = is_framed(rule)
    core = core_of(rule) if framed else rule
    forms: list[tuple[str, Callable[[], Rule | None]]] = [
        ("by laws of real arithmetic", lambda: simplify_rule(core, "real").rule),
        ("by laws that hold for usual values", lambda: simplify_rule(core, "assumed").rule),
        ("by sympy", lambda: simplified_by_sympy(core)),
    ]
    for what, form in forms:
        made = form()
        if made is not None:
            yield "as a whole", what, with_frame(made, rule) if framed else made


def _buffers(flat: Rule) -> Iterator[Edit]:
    """Every buffer started anew at each step: from the gradient, or from nothing."""
    for buffer in flat.buffers:
        for start in (name("g"), const(0.0)) if buffer.kind is Kind.TENSOR else (const(0.0),):
            first = Assign(buffer.name, start)
            yield f"buffer {buffer.name}", "", flat.replace(body=(first, *flat.body))


def _operations(flat: Rule) -> Iterator[Edit]:
    """Every operation replaced by one of its arguments that is no number."""
    shown = _Shown(flat)
    for k, assign in _edited(flat):
        for argument in dict.fromkeys(assign.value.args):
            if argument.op == "name" and str(argument.value) not in flat.defaults:
                changed = _with(flat, k, Assign(assign.target, argument))
                yield shown(assign.value), shown(argument), changed


def _dropped(flat: Rule) -> Iterator[Edit]:
    """Every statement left out: what its name meant before stays."""
    shown = _Shown(flat)
    for k, assign in _edited(flat):
        yield f"{assign.target} = {shown(assign.value)}", "", _with(flat, k, None)


def _numbers(flat: Rule) -> Iterator[Edit]:
    """Every constant made 0 or 1, rounded, or one with another that is close; every hyperparameter made 0 or 1."""
    constants = _constants(flat)
    for value in constants:
        rounded = [float(f"{value:.{digits}g}") for digits in (1, 2, 3)]
        near = [c for c in constants if c != value and 1 / CLOSE < c / value < CLOSE]
        for other in dict.fromkeys((*_TRIVIAL, *rounded, *near)):
            yield number(value), number(other), _substituted(flat, {const(value): const(other)})
    for hyper in flat.hypers:
        if hyper.name not in OUTSIDE:
            for other in _TRIVIAL:
                made = _substituted(flat, {name(hyper.name): const(other)})
                yield hyper.name, number(other), made.replace(hypers=tuple(h for h in made.hypers if h != hyper))


def _constants(flat: Rule) -> list[float]:
    """The numbers of a program but for 0 and 1, each once."""
    nodes = (n for root in (*(a.value for a in flat.assigns()), *flat.returns) for n in root.walk())
    values = (n.value for n in nodes if isinstance(n.value, float))
    return [v for v in dict.fromkeys(values) if v not in _TRIVIAL]


def _substituted(flat: Rule, values: dict[Node, Node]) -> Rule:
    def changed(root: Node) -> Node:
        done: dict[Node, Node] = {}
        for n in root.walk():
            done[n] = values.get(n) or (Node(n.op, tuple(done[a] for a in n.args)) if n.args else n)
        return done[root]

    return flat.replace(body=with_values(flat.body, changed), returns=tuple(map(changed, flat.returns)))


def _edited(flat: Rule) -> Iterator[tuple[int, Assign]]:
    """The statements that may be edited, with their numbers in `Rule.assigns`: all but the frame."""
    for k, assign in enumerate(flat.assigns()):
        if assign.value is not FRAME:
            yield k, assign


def _with(flat: Rule, k: int, new: Assign | None) -> Rule:
    """The program with another statement, or none, in the place of number ``k``."""
    counter = itertools.count()

    def changed(assigns: tuple[Assign, ...]) -> tuple[Assign, ...]:
        placed = (new if next(counter) == k else a for a in assigns)
        return tuple(a for a in placed if a is not None)

    body: list[Assign | If] = []
    for statement in flat.body:
        if isinstance(statement, If):
            body.append(If(changed(statement.then), changed(statement.other)))
        else:
            body += changed((statement,))
    return flat.replace(body=tuple(body))


class _Shown:
    """Parts of a flat program as a reader knows them: with temporary names replaced by what they stand for."""

    def __init__(self, flat: Rule) -> None:
        targets = [a.target for a in flat.assigns()]
        own = {*flat.leaves, *(t for t in targets if targets.count(t) > 1)}
        self.values: dict[str, Node] = {}
        for assign in flat.assigns():
            if assign.target not in own and assign.value.op in OPS:
                self.values[assign.target] = self._expanded(assign.value)

    def _expanded(self, node: Node) -> Node:
        return substitute(node, {n: v for n in node.names if (v := self.values.get(n)) is not None and v.size < 16})

    def __call__(self, node: Node) -> str:
        text = expression(self._expanded(node))
        return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
