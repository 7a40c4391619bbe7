"""The canonical form and its hash: same meaning bit for bit, one form for texts that are one program.

Bits are compared with the reference executor; only the sign and the payload of a NaN are free.
"""

from __future__ import annotations

import dataclasses
import math
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from strategies import rules

from evoptim.dsl import (
    OPS,
    Assign,
    Buffer,
    Hyper,
    If,
    Kind,
    Node,
    Reference,
    Rule,
    canonical_hash,
    canonicalize,
    check,
    hash_and_live,
    live_names,
    load,
    name,
    parse,
    rule_names,
)
from evoptim.dsl.check import reduction_of
from evoptim.dsl.derived import read_expression, substitute
from evoptim.dsl.laws import INEXACT, LAWS, Law, simplify
from evoptim.dsl.node import names

Array: TypeAlias = NDArray[np.float64]

SHAPES = ((), (3,), (4, 5), (2, 3, 4))
STEPS = 3

_HALF = [
    *(0.0, 5e-324, 1e-310, 2.2250738585072014e-308, 1e-160, 1e-8, 0.1, 1 / 3, 0.5, 0.9, 1.0, 1.5, 2.0, 3.0, math.pi),
    *(9007199254740993.0, 1e154, 1.4e154, 1e200, 8.98846567431158e307, 1.7976931348623157e308, math.inf),
]
GRID = np.array([*_HALF, *(-v for v in _HALF), math.nan])


def same_bits(a: Array, b: Array) -> bool:
    """Equal in value and sign; a NaN is a NaN."""
    return (
        bool(np.all((np.isnan(a) & np.isnan(b)) | ((a == b) & (np.signbit(a) == np.signbit(b))))) and a.shape == b.shape
    )


def run(rule: Rule, shapes: Sequence[tuple[int, ...]], special: bool) -> Reference:
    """The reference executor after some steps, from random values or from the odd ones of the grid."""
    rng = np.random.default_rng(0)
    draw: Callable[[tuple[int, ...]], Array] = (lambda s: rng.choice(GRID, s)) if special else rng.standard_normal
    reference = Reference(rule, [draw(s) for s in shapes])
    for _ in range(STEPS):
        reference.step([draw(s) for s in shapes])
    return reference


def assert_same_meaning(rule: Rule, other: Rule) -> None:
    """The same parameters and the same buffers, as far as both rules have them."""
    for shapes, special in ((SHAPES, False), (((40,),), True), (((6, 7),), True)):
        a, b = run(rule, shapes, special), run(other, shapes, special)
        assert all(map(same_bits, a.params, b.params)), (rule.text, other.text)
        for key in a.state.keys() & b.state.keys():
            assert all(map(same_bits, a.state[key], b.state[key])), (key, rule.text, other.text)


# --- the canonical form ----------------------------------------------------------------------------------


def assert_canonical(rule: Rule) -> None:
    """A rule's canonical form is valid, says the same, and is its own canonical form."""
    form = canonicalize(rule)
    assert check(form) == []
    assert parse(form.text) == form
    assert canonicalize(form).text == form.text
    assert canonical_hash(form) == canonical_hash(rule)
    assert_same_meaning(rule, form)


@given(rules())
def test_random_rules(rule: Rule) -> None:
    assert_canonical(rule)


@given(rules())
def test_dead_buffers_may_stay(rule: Rule) -> None:
    form = canonicalize(rule, drop_dead=False)
    assert form.buffers == rule.buffers
    assert check(form) == []
    assert canonicalize(form, drop_dead=False).text == form.text
    assert canonical_hash(form) == canonical_hash(rule)
    assert_same_meaning(rule, form)


@pytest.mark.parametrize("identifier", rule_names())
def test_library_rules(identifier: str) -> None:
    assert_canonical(load(identifier))


FOUND = {
    "a buffer called as temporaries are": (
        "def r(w, g, x1, m):\n    s = mean(g)\n    return m + s, w, sum(s + g + w * s)\n"
    ),
    "a buffer that is dead and called as temporaries are": (
        "def r(w, g, x1, w_new, m):\n    return m, x1 + w_new, w_new, w\n"
    ),
    "only others than matrices change": (
        "def r(w, g):\n    if matrix:\n        pass\n    else:\n        w = w - g\n    return w\n"
    ),
    "a folded value that is infinite": "def r(w, g):\n    return w * square(1e200)\n",
    "ema of constants": "def r(w, g):\n    return w * ema(1e308, -1e308, 3) + ema(2, 3, 0.5)\n",
    "a sum counts the entries of the condition": "def r(w, g):\n    return w - sum(where(g > 0, 2, 2))\n",
    "a global value that is the same in both branches": (
        "def r(w, g, s: global_):\n    if matrix:\n        w = w - s\n    else:\n        w = w - g\n    return w, 0\n"
    ),
    "one parameter for all, over branches": (
        "def r(w, g):\n    if matrix:\n        u = row_sum(w)\n    else:\n        u = w\n    return -global_sum(u)\n"
    ),
    "a row for matrices, a scalar for others": (
        "def r(w, g, a: row, b: scalar):\n    if matrix:\n        a = row_mean(g)\n        w = a\n"
        "    else:\n        w = mean(g)\n    return w, a, b\n"
    ),
    "a buffer read in one branch, its source only in the other": (
        "def r(w, g, m, n):\n    if matrix:\n        w = g\n        n = m\n        m = ema(m, g, 0.5)\n"
        "    else:\n        w = w - n\n        n = g\n    return w, m, n\n"
    ),
    "buffers in a circle, in one branch": (
        "def r(w, g, a, b, c):\n    w = w - a\n    if matrix:\n        d = a\n        a = b\n        b = c\n"
        "        c = d + g\n    else:\n        a = ema(a, g, 0.5)\n    return w, a, b, c\n"
    ),
    "a name as long as names may be": f"def r(w, g, {'m' * 64}):\n    return {'m' * 64}, w\n",
    "a long chain": "def r(w, g):\n    x = w\n" + "    x = sin(x) - g\n" * 900 + "    return x\n",
    "numbers that double": "def r(w, g):\n    x = w\n" + "    x = x + x * g\n" * 300 + "    return x\n",
}


@pytest.mark.parametrize("text", FOUND.values(), ids=FOUND)
def test_rules_that_were_canonicalised_wrongly(text: str) -> None:
    assert_canonical(parse(text))


# --- the hash: what makes no difference ------------------------------------------------------------------


def mapped(rule: Rule, change: Callable[[Node], Node]) -> Rule:
    """A rule with every expression changed."""

    def each(assigns: tuple[Assign, ...]) -> tuple[Assign, ...]:
        return tuple(Assign(a.target, change(a.value)) for a in assigns)

    body = [If(each(s.then), each(s.other)) if isinstance(s, If) else each((s,))[0] for s in rule.body]
    return rule.replace(body=tuple(body), returns=tuple(map(change, rule.returns)))


def retargeted(rule: Rule, new: dict[str, str]) -> Rule:
    """A rule with some names replaced, where they are set and where they are read."""

    def each(assigns: tuple[Assign, ...]) -> tuple[Assign, ...]:
        return tuple(Assign(new.get(a.target, a.target), a.value) for a in assigns)

    rule = mapped(rule, lambda n: substitute(n, {k: name(v) for k, v in new.items()}))
    body = [If(each(s.then), each(s.other)) if isinstance(s, If) else each((s,))[0] for s in rule.body]
    buffers = tuple(dataclasses.replace(b, name=new.get(b.name, b.name)) for b in rule.buffers)
    order = tuple(new.get(n, n) for n in rule.order)
    return rule.replace(body=tuple(body), buffers=buffers, order=order)


def renamed(rule: Rule) -> Rule:
    """Other names for all buffers and variables, in another alphabetical order."""
    own = {b.name for b in rule.buffers} | {a.target for a in rule.assigns()} - {"w", "g"}
    return retargeted(rule, {n: f"{'zyxvutsqp'[i % 9]}{i}" for i, n in enumerate(sorted(own))})


def swapped(rule: Rule) -> Rule:
    """The operands of every commutative operation the other way round, and a < b as b > a."""
    mirror = {"less": "greater", "greater": "less", "less_equal": "greater_equal", "greater_equal": "less_equal"}

    def build(op: str, args: tuple[Node, ...]) -> Node:
        turned = OPS[op].commutative or op in mirror
        return Node(mirror.get(op, op), args[::-1] if turned else args)

    return mapped(rule, lambda n: substitute(n, {}, build))


def burdened(rule: Rule) -> Rule:
    """More of what reaches no parameter: a buffer, a hyperparameter, statements, other words."""
    dead = (Assign("dead1", read_expression("idle * waste + g")), Assign("dead2", read_expression("sum(dead1) * idle")))
    order = () if not rule.order else ("idle", *rule.order)
    return rule.replace(
        name="other",
        doc="Other words.",
        buffers=(Buffer("idle", Kind.TENSOR, "g"), *rule.buffers),
        hypers=(Hyper("waste", 0.25), *rule.hypers),
        body=(*dead, *rule.body, *dead),
        returns=(rule.returns[0], name("dead2"), *rule.returns[1:]),
        order=order,
    )


@pytest.mark.parametrize("change", [renamed, swapped, burdened, canonicalize])
@given(rule=rules())
def test_hash_of_one_program(change: Callable[[Rule], Rule], rule: Rule) -> None:
    other = change(rule)
    assert check(other) == []
    assert canonical_hash(other) == canonical_hash(rule)


@pytest.mark.parametrize("change", [renamed, swapped, burdened])
@pytest.mark.parametrize("identifier", rule_names())
def test_hash_of_one_library_program(change: Callable[[Rule], Rule], identifier: str) -> None:
    other = change(load(identifier))
    assert canonical_hash(other) == canonical_hash(load(identifier))


def test_a_choice_of_law_does_not_depend_on_names() -> None:
    text = "def r(w, g, {0}, {1}):\n    return {0} * {1} + (1 - {0}) * (1 - {1}), {0} + g, {1} - g\n"
    hashes = {canonical_hash(f(parse(text.format(*n)))) for n in ("mv", "vm") for f in (canonicalize, lambda r: r)}
    assert len(hashes) == 1


# --- the hash: what makes a difference -------------------------------------------------------------------

ADAMW = """def r(w, g, m, v, t, *, lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8):
    m = ema(m, g, beta1)
    v = ema(v, square(g), beta2)
    u = m / (1 - beta1**t) / (sqrt(v / (1 - beta2**t)) + eps)
    w = w - lr * (u + 0.01 * w)
    return w, m, v
"""
DIFFERENT = [
    ("0.01 * w", "0.02 * w"),
    ("0.01 * w", "0.010000000000000002 * w"),
    ("0.01 * w", "-0.01 * w"),
    ("lr=1e-3", "lr=2e-3"),
    ("beta1=0.9,", "beta1=0.90001,"),
    ("square(g)", "abs(g)"),
    ("sqrt(v", "log1p(v"),
    ("m, v, t,", "m: init(g), v, t,"),
    ("m, v, t,", "m: init(w), v, t,"),
    ("beta1**t)", "beta2**t)"),
    ("1 - beta1**t", "beta1**t - 1"),
    ("return w, m, v", "return w, u, v"),
    ("return w, m, v", "return w + 0, m, v"),
    ("w = w -", "w = 0 -"),
    ("u = m /", "u = v /"),
]


@pytest.mark.parametrize(("old", "new"), DIFFERENT)
def test_hash_of_different_programs(old: str, new: str) -> None:
    assert ADAMW.count(old) == 1
    assert canonical_hash(parse(ADAMW.replace(old, new))) != canonical_hash(parse(ADAMW))


OTHER = {
    "add": "max",
    "sub": "min",
    "mul": "add",
    "div": "sub",
    "max": "mul",
    "min": "div",
    "abs": "exp",
    "sqrt": "sin",
}


def changed(node: Node) -> Node:
    """Another constant, or another operation on the same arguments."""
    if isinstance(node.value, float):
        return Node("const", value=node.value + 1 if node.value + 1 != node.value else node.value / 2)
    return Node(OTHER[node.op], node.args)


@given(rules(), st.data())
def test_hash_of_changed_programs(rule: Rule, data: st.DataObject) -> None:
    form = canonicalize(rule)  # nothing in it is dead
    parts = {n for a in form.assigns() for n in a.value.walk() if n.op == "const" or n.op in OTHER}
    if parts:
        old = data.draw(st.sampled_from(sorted(parts, key=repr)))
        swap = {old: changed(old)}
        other = mapped(form, lambda root: replaced(root, swap))
        assert canonical_hash(other) != canonical_hash(rule)


def replaced(root: Node, swap: dict[Node, Node]) -> Node:
    """An expression with some parts replaced."""
    done: dict[Node, Node] = {}
    for n in root.walk():
        done[n] = swap.get(n) or (Node(n.op, tuple(done[a] for a in n.args)) if n.args else n)
    return done[root]


def test_hash_tells_kinds_and_branches_apart() -> None:
    texts = [
        "def r(w, g, m):\n    return w - m, mean(g)\n",
        "def r(w, g, m: scalar):\n    return w - m, mean(g)\n",
        "def r(w, g, m: scalar):\n    return w - m, global_mean(g)\n",
        "def r(w, g, m: global_):\n    return w - m, global_mean(g)\n",
        "def r(w, g, m: scalar):\n    if matrix:\n        w = w - m\n    return w, mean(g)\n",
        "def r(w, g, m: scalar):\n    if matrix:\n        pass\n    else:\n        w = w - m\n    return w, mean(g)\n",
    ]
    assert len({canonical_hash(parse(t)) for t in texts}) == len(texts)


def test_library_rules_are_all_different() -> None:
    assert len({canonical_hash(load(n)) for n in rule_names()}) == len(rule_names())


_PROGRAM = """
import sys
from evoptim.dsl import canonical_hash, canonicalize, load, parse, rule_names
for name in rule_names():
    print(name, canonical_hash(load(name)), canonicalize(load(name)).text)
"""


def test_forms_and_hashes_are_the_same_in_every_process() -> None:
    outputs = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONIOENCODING": "utf-8"},
            capture_output=True,
            check=True,
            encoding="utf-8",
        ).stdout
        for seed in ("1", "2")
    }
    here = "".join(f"{n} {canonical_hash(load(n))} {canonicalize(load(n)).text}\n" for n in rule_names())
    assert outputs == {here}


# --- the laws --------------------------------------------------------------------------------------------

CONSTANTS = [v for v in [*GRID.tolist(), -4.0, 0.25, -1024.0, 2.0**-300, 0.7, 0.999] if math.isfinite(v)]


def value(node: Node, env: dict[str, Array]) -> Array:
    """What an expression is, by the reference meaning of its operations."""
    size = next(iter(env.values())).shape
    reference = Reference(load("sgd"), [np.zeros(size)])
    with np.errstate(all="ignore"):
        [result] = reference.evaluate(node, {k: [v] for k, v in env.items()}, [0])
    return np.array(np.broadcast_to(result, size))


def bindings(law: Law) -> list[dict[str, Node]]:
    """Constants for the names of a law that stand for constants, where its guard holds."""
    wanted = sorted(n for n in names(read_expression(law.pattern)) if n.startswith("c"))
    assert wanted in ([], ["c"], ["c", "c2"])
    drawn = [{"c": c, "c2": 1 - c} for c in CONSTANTS] if wanted else [{}]
    held = [{k: v for k, v in d.items() if k in wanted} for d in drawn]
    return [{k: Node("const", value=v) for k, v in d.items()} for d in held if law.guard is None or law.guard(d)]


def variables(law: Law) -> list[str]:
    return sorted(n for n in names(read_expression(law.pattern)) if not n.startswith("c"))


EXACT = LAWS
IDS = [law.pattern for law in EXACT]


def test_all_laws_of_the_canonical_form_are_exact() -> None:
    assert {law.grade for law in LAWS} == {"exact"}
    assert not any(law.grade == "exact" for law in INEXACT)


@pytest.mark.parametrize("law", EXACT, ids=IDS)
def test_laws_are_exact(law: Law) -> None:
    left, right = read_expression(law.pattern), read_expression(law.replacement)
    wanted = variables(law)
    grids = dict(zip(wanted, np.meshgrid(*[GRID] * max(2, len(wanted))), strict=False))
    assert bindings(law)
    for binding in bindings(law):
        assert same_bits(value(substitute(left, binding), grids), value(substitute(right, binding), grids)), binding


@pytest.mark.parametrize("law", EXACT, ids=IDS)
@given(data=st.data())
def test_laws_are_exact_on_random_numbers(law: Law, data: st.DataObject) -> None:
    binding = data.draw(st.sampled_from(bindings(law)))
    env = {n: np.array([[data.draw(st.floats())]]) for n in variables(law)}
    left, right = (substitute(read_expression(side), binding) for side in (law.pattern, law.replacement))
    assert same_bits(value(left, env), value(right, env))


@pytest.mark.parametrize("law", EXACT, ids=IDS)
def test_laws_are_applied_and_keep_all_names(law: Law) -> None:
    left, right = read_expression(law.pattern), read_expression(law.replacement)
    assert names(left) - {"c", "c2"} == names(right) - {"c", "c2"}  # else the kind could change
    for binding in bindings(law):
        assert substitute(left, binding, simplify) is substitute(right, binding, simplify)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_folded_constants_are_what_the_operations_give(a: float, b: float) -> None:
    at = {"x": np.array(a), "y": np.array(b), "beta": np.array(0.9), "s": np.array(0.1)}
    for op in OPS:
        reduces = op.reduce or (op.derived and reduction_of(op))
        if not reduces and not op.kind and not op.comparison and not op.condition and set(op.args) <= at.keys():
            node = simplify(op.name, tuple(Node("const", value=float(at[n])) for n in op.args))
            plain = Node(op.name, tuple(map(name, op.args)))
            assert same_bits(value(node, at), value(plain, at)), (op.name, a, b)


@given(rules())
def test_hash_and_live_names_come_together(rule: Rule) -> None:
    assert hash_and_live(rule) == (canonical_hash(rule), live_names(rule))
