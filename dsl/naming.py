"""Constants that a search has found become hyperparameters: with a name, a default and a domain to tune them in."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, TypeAlias

from .domains import Domain
from .node import Node, name
from .ops import OPS
from .rule import Hyper, Rule, with_values

TINY = 1e-4
"""Up to which size a number that is added keeps a division from failing."""
_SMALL = 2.0
"""Whole numbers up to it belong to a formula and are not to be tuned."""

Role: TypeAlias = Literal["beta", "eps", "c"]
_ROLES: tuple[Role, ...] = ("beta", "eps", "c")


def name_constants(rule: Rule) -> Rule:
    """The rule with a hyperparameter for each constant worth tuning; with the defaults it is the same, bit for bit.

    A constant between 0 and 1 that weighs in an average, or is raised to a power, becomes ``beta1``, ``beta2`` and so
    on; a tiny one that is added becomes ``eps``; every other but 0, 1, 2
    and the exponent of a root becomes ``c1``, ``c2`` and so on.
    The first of its roles in that order counts, and equal constants become one hyperparameter.

    Args:
        rule: A valid rule; hyperparameters that it has keep their names.
    """
    found: dict[float, Role] = {}
    for value, role in _uses(rule):
        if value not in found or _ROLES.index(role) < _ROLES.index(found[value]):
            found[value] = role
    taken = {*rule.leaves, *(a.target for a in rule.assigns()), *(op.name for op in OPS)}
    hypers = {v: _hyper(identifier, v) for v, identifier in _names(found, taken).items()}

    def changed(root: Node) -> Node:
        done: dict[Node, Node] = {}
        for n in root.walk():
            hyper = hypers.get(n.value) if isinstance(n.value, float) else None
            done[n] = name(hyper.name) if hyper else Node(n.op, tuple(done[a] for a in n.args)) if n.args else n
        return done[root]

    return rule.replace(
        hypers=(*rule.hypers, *hypers.values()),
        body=with_values(rule.body, changed),
        returns=tuple(map(changed, rule.returns)),
    )


def _uses(rule: Rule) -> Iterator[tuple[float, Role]]:
    """Every constant worth tuning, in the order of the statements, with what it is there."""
    for root in (*(a.value for a in rule.assigns()), *rule.returns):
        for node in root.walk():
            for i, argument in enumerate(node.args):
                value = argument.value
                if isinstance(value, float) and not _structural(node.op, i, value):
                    yield value, _role(node.op, i, value)


def _structural(op: str, position: int, value: float) -> bool:
    """Whether a number belongs to a formula: a small whole one, or the exponent of a root."""
    whole = value == int(value) and abs(value) <= _SMALL
    return whole or (op == "power" and position == 1 and value == 0.5)


def _role(op: str, position: int, value: float) -> Role:
    if 0 < value < 1 and (op, position) in (("ema", 2), ("lerp", 2), ("power", 0)):
        return "beta"
    return "eps" if op in ("add", "max") and 0 < value <= TINY else "c"


def _names(found: dict[float, Role], taken: set[str]) -> dict[float, str]:
    """A name that nothing else has for each constant; they count within a role, but an only eps has no number."""
    out: dict[float, str] = {}
    alone = list(found.values()).count("eps") == 1 and "eps" not in taken
    for value, role in found.items():
        free = (n for i in range(1, 10_000) if (n := f"{role}{i}") not in taken)
        out[value] = "eps" if role == "eps" and alone else next(free)
        taken.add(out[value])
    return out


def _hyper(identifier: str, value: float) -> Hyper:
    """With the customary domain of its name where that holds the value."""
    plain = Hyper(identifier, value)
    if identifier.startswith("beta") and (plain.domain.scale != "one_minus_log" or value not in plain.domain):
        return Hyper(identifier, value, Domain("uniform", (0.0, max(0.9999, value))))
    if identifier.startswith("c") and value < 0:
        return Hyper(identifier, value, Domain("uniform", (2 * value, 0.0)))
    return plain


def absorb_factor(rule: Rule) -> Rule:
    """The rule without a constant factor of ``lr``, its default scaled by it: the same but for rounding.

    A rule that reads ``lr`` elsewhere too, or has no such factor above 0, is returned as it is.
    """
    roots = [*(a.value for a in rule.assigns()), *rule.returns]
    found = {n for root in roots for n in root.walk() if _factor(n) is not None}
    readers = {n for root in roots for n in root.walk() if name("lr") in n.args or (n is name("lr") and root is n)}
    if len(found) != 1 or len(readers) != 1 or "lr" not in rule.defaults:
        return rule
    [node] = found
    factor = _factor(node)
    assert factor is not None
    value, rest = factor
    return rule.replace(
        hypers=tuple(Hyper("lr", float(f"{h.default * value:.6g}")) if h.name == "lr" else h for h in rule.hypers),
        body=with_values(rule.body, lambda root: _replaced(root, node, rest)),
        returns=tuple(_replaced(r, node, rest) for r in rule.returns),
    )


def _factor(node: Node) -> tuple[float, Node] | None:
    """c and ``lr * x`` of a node that is ``c * (lr * x)`` with a constant c above 0."""
    if node.op != "mul":
        return None
    for factor, rest in (node.args, node.args[::-1]):
        if isinstance(factor.value, float) and factor.value > 0 and rest.op == "mul" and name("lr") in rest.args:
            return factor.value, rest
    return None


def _replaced(root: Node, old: Node, new: Node) -> Node:
    done: dict[Node, Node] = {}
    for n in root.walk():
        done[n] = new if n is old else Node(n.op, tuple(done[a] for a in n.args)) if n.args else n
    return done[root]
