"""Dead statements and buffers leave a rule; what is left is a valid rule that does the same."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from strategies import rules

from evoptim.dsl import Reference, Rule, canonical_hash, check, live_statements, parse, rule_names
from evoptim.dsl.library import load


@given(rule=rules())
def test_live_statements_keep_the_meaning(rule: Rule) -> None:
    live = live_statements(rule)
    assert check(live) == []
    assert parse(live.text) == live
    assert canonical_hash(live) == canonical_hash(rule)
    random = np.random.Generator(np.random.PCG64(0))
    shapes = ((3,), (2, 3))
    params = [random.standard_normal(s) for s in shapes]
    both = [Reference(r, params) for r in (rule, live)]
    for _ in range(2):
        grads = [random.standard_normal(s) for s in shapes]
        for run in both:
            run.step(grads)
    for a, b in zip(both[0].params, both[1].params, strict=True):
        assert np.array_equal(a, b, equal_nan=True)


def test_a_dead_assignment_that_keeps_kinds_in_agreement_stays() -> None:
    rule = parse(
        "def f(w, g, v: row, s: scalar, *, lr=1):\n"
        "    if matrix:\n        v = 2\n    else:\n        v = lr\n"
        "    if matrix:\n        v = lr\n"
        "    return w - s * g, v, v"
    )
    assert check(live_statements(rule)) == []


def test_what_runs_for_all_parameters_is_defined_for_all() -> None:
    rule = parse(
        "def f(w, g, *, lr=1):\n"
        "    if matrix:\n        u = 2 * g\n    else:\n        u = g\n"
        "    d = u\n"
        "    if matrix:\n        d = sum(w)\n"
        "    return w - lr * d"
    )
    assert check(live_statements(rule)) == []


def test_a_buffer_that_is_only_returned_for_another_stays_with_it() -> None:
    rule = parse("def f(w, g, m, v, t):\n    m = t\n    w = g * m\n    return w, v, v")
    live = live_statements(rule)
    assert check(live) == []
    assert [b.name for b in live.buffers] in ([], ["m", "v"])


def test_nothing_is_dead_in_the_zoo() -> None:
    for name in rule_names():
        assert live_statements(load(name)).text == load(name).text


def test_dead_code_and_dead_buffers_go() -> None:
    rule = parse(
        "def f(w, g, m, dead, t, *, lr=1):\n    x = m + dead\n    m = m + g\n    y = t * 2\n    return w - lr * m, m, x"
    )
    assert live_statements(rule).text == "def f(w, g, m, t, *, lr=1):\n    m = m + g\n    return w - lr * m, m\n"
