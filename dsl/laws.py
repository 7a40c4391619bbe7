"""Algebraic laws as data: pairs of patterns in the rule language, applied bottom-up.

Names in a pattern match any expression, names beginning with ``c`` only constants. Every law of `LAWS` is exact in
IEEE arithmetic (equal bits, the sign of a NaN aside); they make the canonical form. The laws of `INEXACT` are no part
of it and only make suggestions (`dsl.simplification`). An exact law keeps every name of its pattern, and so the kind:
``where(k, x, x)`` is not ``x``, since a sum over it counts the entries of ``k``.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np

from .derived import definition, read_expression, substitute
from .node import Node, const
from .ops import OPS

Binding = dict[str, Node]
Guard = Callable[[Mapping[str, float]], bool]


Grade: TypeAlias = Literal["exact", "real", "assumed"]


@dataclass(frozen=True, slots=True)
class Law:
    """``pattern`` may be replaced by ``replacement`` where ``guard`` holds for the constants bound.

    ``grade`` says how far: ``exact`` (the same bits), ``real`` (the same number where both have one, but for rounding
    and single points such as 0/0), or ``assumed`` (near, for what optimizers usually see; to be tried by training).
    """

    pattern: str
    replacement: str
    why: str
    guard: Guard | None = None
    grade: Grade = "exact"


def _power_of_two(c: float) -> bool:
    return c != 0 and math.frexp(c)[0] in (0.5, -0.5) and 1e-300 < abs(c) < 1e300


LAWS: tuple[Law, ...] = (
    Law("x * 1", "x", "one is the unit of *"),
    Law("x / 1", "x", "one is the unit of /"),
    Law("x - 0", "x", "subtracting zero"),
    Law("x ** 1", "x", "first power"),
    Law("x ** 2", "square(x)", "second power"),
    Law("x * x", "square(x)", "square by name"),
    Law("x * c", "-x", "times minus one", lambda v: v["c"] == -1),
    Law("x / c", "-x", "over minus one", lambda v: v["c"] == -1),
    Law("-(-x)", "x", "negation is an involution"),
    Law("-(x * c)", "x * (-c)", "sign into the constant"),
    Law("(-x) * c", "x * (-c)", "sign into the constant"),
    Law("(-x) * y", "-(x * y)", "sign out of a product"),
    Law("(-x) / y", "-(x / y)", "sign out of a quotient"),
    Law("x / (-y)", "-(x / y)", "sign out of a quotient"),
    Law("x + (-y)", "x - y", "adding a negative"),
    Law("x - (-y)", "x + y", "subtracting a negative"),
    Law("x + y * c", "x - y * (-c)", "adding a negative multiple", lambda v: v["c"] < 0),
    Law("x - y * c", "x + y * (-c)", "subtracting a negative multiple", lambda v: v["c"] < 0),
    Law("x + c", "x - (-c)", "adding a negative constant", lambda v: v["c"] < 0),
    Law("x - c", "x + (-c)", "subtracting a negative constant", lambda v: v["c"] < 0),
    Law("x / c", "x * (1 / c)", "a power of two divides exactly", lambda v: _power_of_two(v["c"])),
    Law("abs(abs(x))", "abs(x)", "idempotent"),
    Law("abs(-x)", "abs(x)", "even"),
    Law("abs(square(x))", "square(x)", "squares are not negative"),
    Law("square(-x)", "square(x)", "even"),
    Law("square(abs(x))", "square(x)", "even"),
    Law("sign(sign(x))", "sign(x)", "idempotent"),
    Law("transpose(transpose(x))", "x", "transposition is an involution"),
    Law("x > y", "y < x", "the same condition"),
    Law("x >= y", "y <= x", "the same condition"),
    Law("max(x, x)", "x", "idempotent"),
    Law("min(x, x)", "x", "idempotent"),
    Law("b * x + (1 - b) * y", "ema(x, y, b)", "the definition of ema"),
    Law(
        "x * c + y * c2", "ema(x, y, c)", "the definition of ema", lambda v: v["c2"] == 1 - v["c"] and 0.5 < v["c"] < 1
    ),
)


def _inexact(grade: Grade, *laws: tuple[str, str, str]) -> tuple[Law, ...]:
    return tuple(Law(pattern, replacement, why, grade=grade) for pattern, replacement, why in laws)


INEXACT: tuple[Law, ...] = (
    *_inexact(
        "real",
        ("sqrt(square(x))", "abs(x)", "the root of a square"),
        ("square(sqrt(x))", "x", "the square of a root, for x >= 0"),
        ("sqrt(x) * sqrt(x)", "x", "a root times itself, for x >= 0"),
        ("x / sqrt(x)", "sqrt(x)", "a root cancels, for x > 0"),
        ("x / abs(x)", "sign(x)", "sign(x) = x / sqrt(x**2); at 0 the quotient is NaN and the sign 0"),
        ("abs(x) / x", "sign(x)", "the same, upside down"),
        ("abs(x) * sign(x)", "x", "size times sign"),
        ("sign(x) * sign(x)", "abs(sign(x))", "signs cancel"),
        ("x / x", "x ** 0", "cancels; at 0 the quotient is NaN"),
        ("x - x", "x * 0", "cancels; infinite x aside"),
        ("(x + y) - y", "x", "cancels"),
        ("(x - y) + y", "x", "cancels"),
        ("x - (x - y)", "y", "cancels"),
        ("(x * y) / y", "x", "cancels; y = 0 aside"),
        ("(x / y) * y", "x", "cancels; y = 0 aside"),
        ("x * 0", "0", "nothing; infinite x aside"),
        ("x ** 0", "1", "the zeroth power"),
        ("x + 0", "x", "adding nothing; the sign of a zero aside"),
        ("(x * c) * c2", "x * (c * c2)", "constants multiplied"),
        ("(x / c) / c2", "x / (c * c2)", "constants multiplied"),
        ("(x * c) / c2", "x * (c / c2)", "constants divided"),
        ("(x + c) + c2", "x + (c + c2)", "constants added"),
        ("x + s * (y - x)", "ema(y, x, s)", "an interpolation written as an ema"),
        ("x - s * (x - y)", "ema(y, x, s)", "an interpolation written as an ema"),
        ("ema(ema(x, y, b), y, d)", "ema(x, y, b * d)", "merged interpolations: the decays multiply"),
        ("ema(x, x, b)", "x", "an average of one value"),
        ("exp(log(x))", "x", "inverse functions, for x > 0"),
        ("log(exp(x))", "x", "inverse functions"),
    ),
    *_inexact(
        "assumed",
        ("min(max(x, -y), y)", "x", "a clip that keeps signs, dropped: does it matter?"),
        ("arcsin(x)", "x", "the identity near 0; it keeps signs and order"),
        ("arctan(x)", "x", "the identity near 0; it keeps signs and order"),
        ("arcsinh(x)", "x", "the identity near 0; it keeps signs and order"),
        ("sin(x)", "x", "the identity near 0"),
        ("sinh(x)", "x", "the identity near 0; it keeps signs and order"),
        ("tan(x)", "x", "the identity near 0"),
        ("tanh(x)", "x", "the identity near 0; it keeps signs and order"),
        ("safe_div(x, abs(x))", "sign(x)", "the sign, softened next to 0"),
    ),
    Law("x / (abs(x) + c)", "sign(x)", "the sign, softened next to 0", lambda v: 0 < v["c"] <= 1e-4, "assumed"),
)
"""Laws that change what is computed. No part of the canonical form: they make suggestions."""


def _constant_pattern(identifier: str) -> bool:
    return identifier.startswith("c")


def _permutations(node: Node) -> list[Node]:
    """A pattern with the arguments of commutative ops in every order."""
    if not node.args:
        return [node]
    out: list[Node] = []
    for args in itertools.product(*map(_permutations, node.args)):
        out.append(Node(node.op, args))
        if OPS[node.op].commutative:
            out.append(Node(node.op, args[::-1]))
    return list(dict.fromkeys(out))


@dataclass(frozen=True, slots=True)
class _Compiled:
    pattern: Node
    replacement: Node
    law: Law


@lru_cache(maxsize=1)
def _table() -> dict[str, list[_Compiled]]:
    """The exact laws by the op at the pattern's root."""
    return _compiled(LAWS)


@lru_cache(maxsize=1 << 14)
def _candidates(op: str, below: tuple[str, ...]) -> tuple[_Compiled, ...]:
    """The exact laws that may hold for an op whose arguments are results of ops ``below``, in their order."""
    table = _table().get(op, ())
    return tuple(c for c in table if all(p.op in ("name", b) for p, b in zip(c.pattern.args, below, strict=True)))


def _compiled(laws: Iterable[Law]) -> dict[str, list[_Compiled]]:
    table: dict[str, list[_Compiled]] = {}
    for law in laws:
        replacement = read_expression(law.replacement)
        for pattern in _permutations(read_expression(law.pattern)):
            table.setdefault(pattern.op, []).append(_Compiled(pattern, replacement, law))
    return table


@lru_cache(maxsize=1)
def _inexact_table() -> dict[str, list[_Compiled]]:
    return _compiled(INEXACT)


def inexact(node: Node, grades: Collection[Grade]) -> tuple[Node, Law] | None:
    """What an inexact law of these grades makes of a node itself, and the law; None if there is none."""
    for compiled in _inexact_table().get(node.op, ()):
        binding: Binding = {}
        if compiled.law.grade in grades and _match(compiled.pattern, node, binding) and _holds(compiled.law, binding):
            return substitute(compiled.replacement, binding, simplify), compiled.law
    return None


def _match(pattern: Node, node: Node, binding: Binding) -> bool:
    if pattern.op == "name":
        identifier = str(pattern.value)
        bound = binding.setdefault(identifier, node)
        return bound is node and (node.op == "const" or not _constant_pattern(identifier))
    if pattern.op == "const" or pattern.op != node.op:
        return pattern is node
    return all(map(_match, pattern.args, node.args, itertools.repeat(binding)))


def _holds(law: Law, binding: Binding) -> bool:
    if law.guard is None:
        return True
    return law.guard({k: v.value for k, v in binding.items() if isinstance(v.value, float)})


def _sort_key(node: Node) -> tuple[int, int, str, str, bytes]:
    """A total order of expressions, the same in every process: constants, names, then by size."""
    rank = {"const": 0, "name": 1}.get(node.op, 2)
    text = node.value if isinstance(node.value, str) else ""
    return rank, node.size, node.op, text, node.digest


def _fold(op: str, args: tuple[Node, ...]) -> Node | None:
    """The constant an elementwise op gives, if its arguments are constants and it is finite."""
    row = OPS[op]
    values = [a.value for a in args if isinstance(a.value, float)]
    if row.reduce is not None or row.kind is not None or row.comparison or row.condition or len(values) != len(args):
        return None
    if row.meaning is None:
        folded = substitute(
            definition(row), dict(zip(row.args, args, strict=True)), lambda o, a: _fold(o, a) or Node(o, a)
        )
        return folded if folded.op == "const" else None
    with np.errstate(all="ignore"):
        value = float(row.meaning(*values))
    return const(value) if math.isfinite(value) else None


Build: TypeAlias = Callable[[str, tuple[Node, ...]], Node]
"""How an op is applied to arguments."""

Note: TypeAlias = Callable[[Node, Node, str], None]
"""Told of a rewriting: what it was, what it is now, and why."""

_CACHE_SIZE = 1 << 17
_cache: dict[tuple[str, tuple[Node, ...]], Node] = {}


def simplify(op: str, args: tuple[Node, ...]) -> Node:
    """The canonical form of an op applied to canonical arguments."""
    key = (op, args)
    if _cached_for[0] != OPS.version or len(_cache) >= _CACHE_SIZE:
        _cache.clear()
        _cached_for[0] = OPS.version
    found = _cache.get(key)
    if found is None:
        found = _cache[key] = _rewrite(op, args, simplify, None)
    return found


_cached_for = [OPS.version]


def noted(note: Note) -> Build:
    """The same, telling of every rewriting."""

    def build(op: str, args: tuple[Node, ...]) -> Node:
        return _rewrite(op, args, build, note)

    return build


def _rewrite(op: str, args: tuple[Node, ...], build: Build, note: Note | None) -> Node:
    row = OPS[op]
    if row.derived and not row.keep:
        return substitute(definition(row), dict(zip(row.args, args, strict=True)), build)
    folded = _fold(op, args)
    if folded is not None:
        if note is not None:
            note(Node(op, args), folded, "constants folded")
        return folded
    if row.commutative:
        args = tuple(sorted(args, key=_sort_key, reverse=row.descending))
    node = Node(op, args)
    for compiled in _candidates(op, tuple([a.op for a in args])):
        binding: Binding = {}
        if _match(compiled.pattern, node, binding) and _holds(compiled.law, binding):
            result = substitute(compiled.replacement, binding, build)
            if note is not None:
                note(node, result, compiled.law.why)
            return result
    return node
