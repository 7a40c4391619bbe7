"""Bringing a rule into the frame: ``w = w - lr * (u + weight_decay * w)`` with u left to the search.

Inside the frame the learning rate, decoupled decay and the zero-gradient gate keep their meaning whatever the
search does to u (as in Lion's signature).
"""

from __future__ import annotations

import dataclasses
import itertools
from dataclasses import dataclass
from typing import TypeAlias

from evoptim.dsl import Assign, Buffer, Hyper, Kind, Node, Rule, UserError, canonicalize, const, lower, name
from evoptim.dsl.derived import substitute
from evoptim.dsl.laws import simplify
from evoptim.dsl.rule import with_values

OUTSIDE = ("lr", "weight_decay")
"""Hyperparameters that belong to the frame."""


def _op(op: str, *args: Node) -> Node:
    return Node(op, args)


FRAME = _op(
    "sub", name("w"), _op("mul", name("lr"), _op("add", name("u"), _op("mul", name("weight_decay"), name("w"))))
)
"""The statement outside the genome, as an expression for w."""


class FrameError(UserError):
    """A rule cannot be brought into the frame."""


class _NotFramed(Exception):
    """Why not."""


@dataclass(frozen=True, slots=True)
class Framed:
    """A rule in the frame; ``note`` says what had to change, if anything."""

    rule: Rule
    note: str = ""


def into_frame(rule: Rule, weight_decay: float = 0.0) -> Framed:
    """The rule with its last statement the frame and every other hyperparameter a constant.

    Args:
        rule: A valid rule without branches.
        weight_decay: The frame's default decay.

    Raises:
        FrameError: The rule has branches, or its step is not linear in lr; the message has the reason.
    """
    if rule.branches:
        raise FrameError(
            f"rule {rule.name!r} cannot be framed: it treats matrices differently (if matrix:)",
            'search it with frame = "free"',
        )
    lr = next((h for h in rule.hypers if h.name == "lr"), None)
    if lr is None:
        raise FrameError(f"rule {rule.name!r} cannot be framed: it has no lr", "add lr to its hyperparameters")
    inlined = _renamed(inline_hypers(rule))
    try:
        outputs, note = _outputs(inlined, rule)
    except _NotFramed as reason:
        raise FrameError(f"rule {rule.name!r} cannot be framed: {reason}", 'search it with frame = "free"') from reason
    core = inlined.replace(body=(), returns=outputs, hypers=())
    hypers = (Hyper("lr", lr.default, lr.declared), Hyper("weight_decay", weight_decay))
    return Framed(_assembled(canonicalize(core, drop_dead=False), hypers), note)


def _assembled(core: Rule, hypers: tuple[Hyper, ...]) -> Rule:
    """The framed rule of a rule whose "new parameter" is u: that one is called u, and the frame comes last."""
    statements: list[Assign] = []
    names: dict[str, Node] = {}
    for assign in core.straight(False):
        value = substitute(assign.value, names)
        if assign.target == "w":
            names = {"w": name("u")}
        statements.append(Assign("u" if assign.target == "w" else assign.target, value))
    returns = [substitute(r, names) for r in core.returns]
    if not names:
        statements.append(Assign("u", returns[0]))
    return core.replace(
        hypers=(*hypers, *core.hypers),
        body=(*statements, Assign("w", FRAME)),
        returns=(name("w"), *returns[1:]),
    )


def inline_hypers(rule: Rule) -> Rule:
    """Every hyperparameter but those of the frame replaced by its default."""
    values = {h.name: const(h.default) for h in rule.hypers if h.name not in OUTSIDE}
    return rule.replace(
        hypers=tuple(h for h in rule.hypers if h.name in OUTSIDE),
        body=with_values(rule.body, lambda value: substitute(value, values)),
        returns=tuple(substitute(r, values) for r in rule.returns),
    )


def _renamed(rule: Rule) -> Rule:
    """The rule with other names for buffers that are called as something in the frame."""
    clashing = [b.name for b in rule.buffers if b.name in ("u", *OUTSIDE)]
    if not clashing:
        return rule
    taken = set(rule.leaves) | {a.target for a in rule.assigns()}
    new = {old: next(n for i in itertools.count(1) if (n := f"{old}{i}") not in taken) for old in clashing}
    nodes = {old: name(n) for old, n in new.items()}
    return rule.replace(
        buffers=tuple(dataclasses.replace(b, name=new.get(b.name, b.name)) for b in rule.buffers),
        body=tuple(
            Assign(new.get(a.target, a.target), substitute(a.value, nodes)) for a in rule.body if isinstance(a, Assign)
        ),
        returns=tuple(substitute(r, nodes) for r in rule.returns),
        order=tuple(new.get(n, n) for n in rule.order),
    )


def _outputs(rule: Rule, original: Rule) -> tuple[tuple[Node, ...], str]:
    """u and the new buffers of a rule, and a note where its decay had to be set aside."""
    try:
        return _exact_outputs(lower(rule).vector), ""
    except _NotFramed:
        decay = next((h for h in original.hypers if h.name == "weight_decay"), None)
        if decay is None:
            raise
    note = (
        f"the weight decay of {original.name!r} (default {decay.default:g}) is replaced by the frame's decoupled decay"
    )
    return _exact_outputs(tuple(map(_zeroed, lower(rule).vector))), note


def _exact_outputs(outputs: tuple[Node, ...]) -> tuple[Node, ...]:
    new_w, *buffers = outputs
    for node in buffers:
        if any(n is name(h) for h in OUTSIDE for n in node.walk()):
            raise _NotFramed("a buffer depends on lr or weight_decay")
    return (_exact_update(new_w), *buffers)


_ZERO = const(0.0)


def _zeroed(node: Node) -> Node:
    """The expression at weight_decay = 0; unlike the exact laws, this takes 0 * x as 0."""

    def build(op: str, args: tuple[Node, ...]) -> Node:
        if op == "mul" and _ZERO in args:
            return _ZERO
        if op == "add" and _ZERO in args:
            return args[1] if args[0] is _ZERO else args[0]
        if op == "sub" and args[1] is _ZERO:
            return args[0]
        return simplify(op, args)

    return substitute(node, {"weight_decay": _ZERO}, build)


def _exact_update(new_w: Node) -> Node:
    """u such that ``new_w`` is ``w - lr * u`` or ``w - lr * (u + weight_decay * w)`` in real arithmetic."""
    rest, slope = _linear(new_w, "lr")
    if rest is name("w") and slope is None:
        raise _NotFramed("without decay it leaves the parameter as it is")
    if rest is not name("w") or slope is None:
        raise _NotFramed("its step is not w minus lr times something")
    update, decay = _linear(_negated(slope), "weight_decay")
    if decay is not None and decay is not name("w"):
        raise _NotFramed("its weight decay is not decoupled")
    if update is None:
        raise _NotFramed("it only decays the parameter")
    return update


Linear: TypeAlias = tuple[Node | None, Node | None]
"""(a, b) for a + b * x; None stands for zero."""


def _linear(node: Node, variable: str) -> Linear:
    """Decompose an expression that is linear in a variable.

    Raises:
        _NotFramed: It is not.
    """
    if node is name(variable):
        return None, const(1.0)
    if not any(n is name(variable) for n in node.walk()):
        return node, None
    if node.op in ("add", "sub"):
        (a, b), (c, d) = (_linear(x, variable) for x in node.args)
        return _sum(node.op, a, c), _sum(node.op, b, d)
    if node.op == "neg":
        a, b = _linear(node.args[0], variable)
        return (None if a is None else _negated(a)), (None if b is None else _negated(b))
    if node.op == "mul":
        (a, b), (c, d) = (_linear(x, variable) for x in node.args)
        if b is None or d is None:
            return _product(a, c), _product(b, c) if d is None else _product(a, d)
    if node.op == "div":
        (a, b), (c, d) = (_linear(x, variable) for x in node.args)
        if d is None and c is not None:
            return _quotient(a, c), _quotient(b, c)
    raise _NotFramed(f"{variable} enters through {node.op!r}, not linearly")


def _sum(op: str, a: Node | None, b: Node | None) -> Node | None:
    if b is None:
        return a
    if a is None:
        return b if op == "add" else _negated(b)
    return simplify(op, (a, b))


def _product(a: Node | None, b: Node | None) -> Node | None:
    return None if a is None or b is None else simplify("mul", (a, b))


def _quotient(a: Node | None, b: Node) -> Node | None:
    return None if a is None else simplify("div", (a, b))


def _negated(node: Node) -> Node:
    return simplify("neg", (node,))


def is_framed(rule: Rule) -> bool:
    """Whether `into_frame` made it: the last statement is the frame, and nothing else touches what belongs to it."""
    last = rule.body[-1] if rule.body else None
    if not (isinstance(last, Assign) and last.target == "w" and last.value is FRAME):
        return False
    if rule.branches or rule.returns[0] is not name("w") or not rule.defaults.keys() >= set(OUTSIDE):
        return False
    *genome, _ = rule.assigns()
    outside = {name(n) for n in OUTSIDE}
    if any(n is name("w") or n in outside for r in rule.returns[1:] for n in r.walk()):
        return False
    return not any(a.target == "w" or n in outside for a in genome for n in a.value.walk())


def tidy(rule: Rule) -> Rule:
    """A searched program as a person wants to read it: canonical, without dead code, the frame as it is."""
    if not is_framed(rule):
        plain = canonicalize(rule)
        dropped = tuple(h for h in rule.hypers if h.name == "lr" and h not in plain.hypers)
        return plain.replace(hypers=(*dropped, *plain.hypers))  # a rule without lr trains nowhere
    return with_frame(core_of(rule), rule)


def core_of(rule: Rule) -> Rule:
    """What stands inside the frame of a framed program, in canonical form: a rule whose "new parameter" is u."""
    graph = lower(rule, keep=("u",))
    own = tuple(h for h in rule.hypers if h.name not in OUTSIDE)
    return canonicalize(rule.replace(body=(), returns=(graph.vector[-1], *graph.vector[1:-1]), hypers=own))


def with_frame(core: Rule, like: Rule) -> Rule:
    """The framed program with such a core; lr and weight_decay are those of ``like``."""
    return _assembled(core, tuple(h for h in like.hypers if h.name in OUTSIDE))


def with_buffers(rule: Rule, count: int) -> Rule:
    """The rule with at least ``count`` buffers; new ones are handed through unchanged until a mutation uses them."""
    taken = set(rule.leaves) | {a.target for a in rule.assigns()}
    free = (n for n in ("m", "v", "s", *(f"s{i}" for i in range(2, 100))) if n not in taken)
    extra = [next(free) for _ in range(count - len(rule.buffers))]
    return rule.replace(
        buffers=(*rule.buffers, *(Buffer(n, Kind.TENSOR) for n in extra)),
        returns=(*rule.returns, *map(name, extra)),
        order=(*rule.order, *extra) if rule.order else (),
    )
