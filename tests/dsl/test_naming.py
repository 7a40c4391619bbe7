"""Constants become hyperparameters with sensible names and domains, and the rule stays what it was, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from strategies import rules

from evoptim.dsl import Reference, Rule, absorb_factor, name_constants, parse

SHAPES = ((), (3,), (2, 3))


def trajectory(rule: Rule) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    run = Reference(rule, [random.standard_normal(s) for s in SHAPES])
    with np.errstate(all="ignore"):
        for _ in range(4):
            run.step([random.standard_normal(s) for s in SHAPES])
    return run.params


def same(a: Rule, b: Rule) -> bool:
    return all(np.array_equal(x, y, equal_nan=True) for x, y in zip(trajectory(a), trajectory(b), strict=True))


FOUND = """
def found(w, g, m, v, t, *, lr=0.1, beta1=0.5):
    m = ema(m, g, 0.9) * beta1
    v = ema(v, square(g), 0.999)
    h = m / (1 - 0.9**t) / (sqrt(v / (1 - 0.999**t)) + 1e-8)
    u = h * 3.7 + 2 * tanh(w) ** 0.5 - g * -0.25 + lerp(m, g, 0.1)
    w = w - lr * u
    return w, m, v
"""


def test_each_constant_has_the_name_of_what_it_does() -> None:
    named = name_constants(parse(FOUND))
    domains = {h.name: (h.default, h.domain.scale) for h in named.hypers}
    assert domains == {
        "lr": (0.1, "log"),
        "beta1": (0.5, "one_minus_log"),
        "beta2": (0.9, "one_minus_log"),  # in the average and in its correction
        "beta3": (0.999, "one_minus_log"),
        "eps": (1e-8, "log"),
        "c1": (3.7, "log"),
        "c2": (-0.25, "uniform"),
        "beta4": (0.1, "uniform"),
    }
    assert all(h.default in h.domain for h in named.hypers)
    assert "2 * tanh(w)**0.5" in named.text
    assert same(parse(FOUND), named)
    assert parse(named.text) == named


def test_two_small_numbers_are_counted_and_no_name_is_taken_twice() -> None:
    named = name_constants(
        parse(
            "def f(w, g, c1, *, lr=1, eps=1):\n    c1 = g / (abs(c1) + 1e-8) + (eps + 1e-6) * 7\n"
            "    return w - lr * c1, c1"
        )
    )
    assert [h.name for h in named.hypers] == ["lr", "eps", "eps1", "eps2", "c2"]


@given(rules())
def test_naming_changes_no_bit(rule: Rule) -> None:
    named = name_constants(rule)
    assert same(rule, named)
    assert parse(named.text) == named


def test_a_factor_of_the_learning_rate_goes_into_it() -> None:
    rule = absorb_factor(parse("def f(w, g, *, lr=3):\n    return w - 2e-4 * (lr * sign(g))"))
    assert rule.defaults == {"lr": 6e-4}
    assert rule.returns == parse("def f(w, g, *, lr=3):\n    return w - lr * sign(g)").returns


@pytest.mark.parametrize(
    "text",
    [
        "def f(w, g, *, lr=3):\n    return w - 2e-4 * (lr * clip(g, -lr, lr))",
        "def f(w, g, *, lr=3):\n    return w - -2 * (lr * g)",
        "def f(w, g, *, lr=3):\n    return w - lr * g",
        "def f(w, g, *, lr=3):\n    x = 2 * (lr * g)\n    return w - x - lr",
    ],
)
def test_no_other_factor_does(text: str) -> None:
    assert absorb_factor(parse(text)) == parse(text)
