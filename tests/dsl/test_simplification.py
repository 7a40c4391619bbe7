"""Simplification: Lion from the program it was found as, and steps that say truly how far they hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from rules import SEEDS
from strategies import rules

from evoptim.dsl import Reference, Rule, canonical_hash, check, equal, load, parse, simplify_rule
from evoptim.dsl.derived import read_expression, substitute
from evoptim.dsl.laws import INEXACT, Law, _match, inexact

RAW_LION = parse("""
def lion_raw(w, g, m, v, *, lr=1):
    g = clip(g, -lr, lr)
    g = arcsin(g)
    m = lerp(g, v, 0.899)
    m2 = m * m
    v = lerp(g, m, 1.109)
    abs_m = sqrt(m2)
    u = m / abs_m
    wd = w * 0.4602
    u = u + wd
    lr_t = lr * 0.0002
    m = cosh(u)
    w = w - u * lr_t
    return w, m, v
""")
"""The program that the search of Chen et al. (2023, program 4) returned; clip's bounds and signs written out."""

LION = parse("""
def lion(w, g, v, *, lr=1):
    u = sign(ema(v, g, 0.899))
    v = ema(v, g, 0.996991)
    w = w - lr * 0.0002 * (u + 0.4602 * w)
    return w, v
""")


def test_lion_comes_out_of_the_program_it_was_found_as() -> None:
    result = simplify_rule(RAW_LION)
    assert equal(result.rule, LION).exact
    told = [(s.grade, s.before, s.after) for s in result.steps]
    assert ("exact", "buffer m", "") in told
    assert ("exact", "m = cosh(u)", "") in told
    assert ("real", "sqrt(m2)", "abs(m)") in told
    assert ("real", "m / abs_m", "sign(m)") in told
    assert ("real", "ema(m, g, 1.109)", "ema(v, g, 0.996991)") in told
    assert ("assumed", "arcsin(g)", "g") in told
    assert any(s.grade == "assumed" and "clip" in s.why for s in result.steps)
    assert [s.grade for s in result.steps] == sorted(
        (s.grade for s in result.steps), key=["exact", "real", "assumed"].index
    )


def test_grades_stop_where_they_are_told_to() -> None:
    exact, real = simplify_rule(RAW_LION, "exact"), simplify_rule(RAW_LION, "real")
    assert canonical_hash(exact.rule) == canonical_hash(RAW_LION)
    assert {s.grade for s in exact.steps} == {"exact"}
    assert {s.grade for s in real.steps} == {"exact", "real"}
    assert "arcsin" in real.rule.text
    assert all(s.change < 1e-12 for s in real.steps)


def test_what_changes_the_steps_is_measured() -> None:
    changes = {s.before: s.change for s in simplify_rule(RAW_LION).steps}
    assert changes["sqrt(m2)"] < 1e-12
    assert changes["arcsin(g)"] > 1e-3


@pytest.mark.parametrize("name", SEEDS)
def test_published_rules_are_simple_already(name: str) -> None:
    result = simplify_rule(load(name))
    assert not [s for s in result.steps if s.grade != "exact"]
    assert canonical_hash(result.rule) == canonical_hash(load(name))


@settings(max_examples=100)
@given(rules(tame=True))
def test_random_rules_stay_valid_and_exact_steps_keep_the_bits(rule: Rule) -> None:
    exact = simplify_rule(rule, "exact")
    assert canonical_hash(exact.rule) == canonical_hash(rule)
    assert all(s.change == 0 for s in exact.steps)
    assert check(simplify_rule(rule).rule) == []


NUMBERS = (0.3, 1.7, 2.6)
REAL = [law for law in INEXACT if law.grade == "real"]


def _value(text: str, **at: float) -> float:
    run = Reference(load("sgd"), [np.zeros(())])
    [result] = run.evaluate(read_expression(text), {k: [np.array(v)] for k, v in at.items()}, [0])
    return float(result)


@pytest.mark.parametrize("law", REAL, ids=lambda law: law.pattern)
def test_laws_of_real_arithmetic_hold_on_positive_numbers(law: Law) -> None:
    for shift in range(3):
        at = {n: NUMBERS[(i + shift) % 3] for i, n in enumerate(("x", "y", "s", "b", "d", "c", "c2"))}
        assert _value(law.pattern, **at) == pytest.approx(_value(law.replacement, **at), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("law", INEXACT, ids=lambda law: law.pattern)
def test_every_inexact_law_applies_to_its_own_pattern(law: Law) -> None:
    constants = {n: read_expression(v) for n, v in (("c", "1e-5"), ("c2", "0.7"))}
    node = substitute(read_expression(law.pattern), constants)
    found = inexact(node, ("real", "assumed"))
    assert found is not None
    assert _match(read_expression(law.pattern), node, {})
